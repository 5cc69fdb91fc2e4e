"""One row per system, for any number of tasks."""

import doctest

import pytest

from reasonir.eval import result_table as module
from reasonir.eval.result_table import result_table
from reasonir.eval.results import Results
from reasonir.eval.stats.ranking_metrics import NAMES

GROUPS = {"all": ["a_b", "c"], "first": ["a_b"], "absent": ["d"]}


def results(values, groups=None):
    """Return results of task -> system -> nDCG@10 of each query; other metrics are 0."""
    made = Results({"tasks": {task: {} for task in values if "corrected" not in task}}, groups or {})
    for task, systems in values.items():
        for system, queries in systems.items():
            rows = {f"q{n}": {**dict.fromkeys(NAMES, 0.0), "ndcg_at_10": value} for n, value in enumerate(queries)}
            made.add_values(task, system, rows)
    return made


def test_examples_in_docstrings():
    assert doctest.testmod(module).failed == 0


def test_one_task_has_a_row_for_each_system_with_all_metrics():
    made = results({"t": {"bm25": [0.0, 0.5], "trained": [1.0, 1.0]}, "t_corrected": {"trained": [0.5, 0.5]}})
    table = result_table(made, "trained")
    assert list(table.columns)[:5] == ["system", "nDCG@10", "95% CI", "Δ nDCG@10", "p"]
    assert list(table.columns)[5:] == ["Recall@10", "Recall@100", "MRR", "MAP"]
    bm25, trained = table.cells()
    assert bm25[:2] + bm25[3:4] == ["bm25", "0.2500", "+0.7500"]
    assert trained[:5] == ["trained", "1.0000", "1.000 to 1.000", "", ""]
    assert table.strong == {1}
    assert table.note.splitlines()[1] == "trained: t_corrected 0.5000"


def test_several_tasks_are_columns_after_the_mean_of_each_system():
    values = {"a_b": {"bm25": [0.0, 0.5], "trained": [1.0, 1.0]}, "c": {"bm25": [0.75], "trained": [0.5]}}
    made = results(values, GROUPS)
    table = result_table(made, "trained")
    assert list(table.columns) == ["system", "mean nDCG@10", "95% CI", "Δ nDCG@10", "p", "a b", "c"]
    bm25, trained = table.cells()
    assert (bm25[1], bm25[3], bm25[5:]) == ("0.5000", "+0.2500", ["0.2500", "0.7500"])
    assert (trained[1], trained[3:]) == ("0.7500", ["", "", "1.0000", "0.5000"])
    low, mean, high = (pytest.approx(value) for value in (0.75, 0.75, 0.75))
    assert (table.rows[1][2].low, table.rows[1][2].mean, table.rows[1][2].high) == (low, mean, high)
    assert table.note.splitlines()[1:] == ["trained: first 1.0000"]


def test_a_system_that_lacks_a_task_has_no_mean():
    made = results({"a": {"one": [0.5], "two": [0.5]}, "c": {"one": [0.5]}})
    assert result_table(made, "one").cells()[1] == ["two", "", "", "", "", "0.5000", ""]


def test_the_recall_of_an_approximate_index_is_noted():
    made = results({"t": {"trained": [1.0]}})
    made.protocol["index"] = {"name": "plaid"}
    made.measured = {"t": {"trained": {"recall_at_100": 0.98, "vectors": 10, "encoded_vectors": 20}}}
    made.measured["t"]["trained"][module.RECALL] = 0.98
    assert result_table(made, "trained").note.startswith("t: of the exact first")


def test_the_terms_of_sparse_vectors_are_noted():
    made = results({"t": {"trained": [1.0]}})
    made.measured = {"t": {"trained": {"query_terms": 20.4, "document_terms": 100.0, "flops": 1.234}}}
    assert result_table(made, "trained").note == "t: 20 terms a query, 100 a document, of which a pair shares 1.23"
