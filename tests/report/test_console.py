"""What is printed where there is no terminal."""

from rich.table import Table

from reasonir.report.console import show


def test_tables_keep_their_width_in_a_notebook(monkeypatch, capsys):
    """Jupyter sets FORCE_COLOR for what a cell runs, and shows a pipe's content."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"a_column_number_{number}" for number in range(6)]
    show(Table(*names))
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
