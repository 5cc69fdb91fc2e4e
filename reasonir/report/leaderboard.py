"""The judged system among a benchmark's published figures: printed, and kept as a table and a figure."""

from __future__ import annotations

from pathlib import Path

from reasonir.eval.leaderboard import Leaderboard, Standings, headline, notes, write_standings
from reasonir.eval.result_table import CI
from reasonir.eval.results import Results
from reasonir.report.console import show
from reasonir.report.plots import plot_standings
from reasonir.tracking.base import Tracking
from reasonir.utils.table import RIGHT, TEXT, Table


def show_leaderboard(board: Leaderboard, results: Results, judged: str, folder: Path, tracking: Tracking) -> None:
    """Print where `judged` stands and write leaderboard.md, .csv and .png; nothing where nothing is published."""
    standings = board.standings(results, judged)
    if standings is None:
        return
    files = [*write_standings(standings, folder), plot_standings(standings, folder / "leaderboard.png")]
    for file in files:
        tracking.artifact(file, "leaderboard")
    show(_table(standings))


def _table(standings: Standings) -> Table:
    columns = {"place": RIGHT, "model": TEXT, "size": RIGHT, "mean": "{:.1f}"}
    rows = [[row.place, row.model, row.size, row.mean, row.span, "; ".join(row.how)] for row in standings.rows]
    return Table(
        headline(standings),
        {**columns, CI: "{0[0]:.1f} to {0[1]:.1f}", "how it came about": TEXT},
        rows,
        {number for number, row in enumerate(standings.rows) if row.kind == "judged"},
        notes(standings),
    )
