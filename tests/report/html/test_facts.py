"""Tables and sentences of a report."""

import doctest

from reasonir.report.html import facts
from reasonir.report.html.facts import speed_table, warnings_of

LOG = """\
2026-01-02 03:04:05,678 INFO reasonir.commands.train: Everything is fine
2026-01-02 03:04:05,678 WARNING reasonir.commands.train: Out of memory (CUDA): half the budget
2026-01-02 03:04:06,678 WARNING reasonir.model: two
lines
2026-01-02 03:04:07,678 WARNING reasonir.commands.train: Out of memory (CUDA): half the budget
2026-01-02 03:04:08,678 INFO reasonir: done
"""


def test_examples_in_docstrings():
    assert doctest.testmod(facts).failed == 0


def test_distinct_warnings_are_listed_with_their_count(tmp_path):
    assert warnings_of(tmp_path) == []
    (tmp_path / "reasonir-train.log").write_text(LOG)
    assert warnings_of(tmp_path) == [("Out of memory (CUDA): half the budget", 2), ("two\nlines", 1)]


def test_the_speed_table_follows_from_logged_metrics():
    assert speed_table({}) is None
    table = speed_table({"train/tokens_per_s": ([1, 5], [1000.0, 3000.0]), "train/seconds": ([1, 5], [2.0, 3600.0])})
    assert [row[1] for row in table.cells()] == ["5", "2,000", "1,000 to 3,000", "1 h 00 min"]
