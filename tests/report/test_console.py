"""Tables without a terminal, in a narrow one, and in the log."""

import logging

from reasonir.report import console
from reasonir.report.console import show
from reasonir.utils.table import TEXT, Table


def test_tables_keep_their_width_in_a_notebook(monkeypatch, capsys):
    """Jupyter sets FORCE_COLOR and reads from a pipe."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"a_column_number_{number}" for number in range(6)]
    show(Table("Wide", dict.fromkeys(names, TEXT), []))
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)


def test_cells_are_never_markup_and_long_cells_are_kept(capsys):
    long = " ".join(["word"] * 100)
    show(Table("T", {"name": TEXT, "text": TEXT}, [["[bold]a[/bold]", long]], note="[red]n[/red]"))
    printed = capsys.readouterr().out
    assert "[bold]a[/bold]" in printed
    assert "[red]n[/red]" in printed
    assert printed.count("word") == 100


def test_a_table_goes_to_the_log_as_plain_text_that_the_terminal_does_not_repeat(caplog):
    caplog.set_level(logging.INFO, "reasonir")
    show(Table("T", {"a": TEXT}, [["1"]]))
    (record,) = caplog.records
    assert record.getMessage() == "T\n| a   |\n| :-- |\n| 1   |"
    assert record.printed


def test_a_terminal_that_is_too_narrow_shows_the_columns_in_parts(monkeypatch, capsys):
    monkeypatch.setattr(console, "_WIDTH", 30)
    monkeypatch.setenv("COLUMNS", "30")
    names = [f"column{number}" for number in range(4)]
    show(Table("Wide", {"system": TEXT, **dict.fromkeys(names, "{:.3f}")}, [["bm25", 1, 2, 3, 4]], note="A note."))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 30
    assert [line.split()[1:-1:2] for line in lines if "bm25" in line] == [
        ["bm25", "1.000", "2.000"],
        ["bm25", "3.000", "4.000"],
    ]
    assert sum(line.strip() == "A note." for line in lines) == 1
