"""Leaderboard of an evaluation: printed, and written as a table and a plot."""

from __future__ import annotations

from pathlib import Path

from reasonir.eval.leaderboard import Leaderboard, Standings, headline, notes, write_standings
from reasonir.eval.result_table import CI
from reasonir.eval.results import Results
from reasonir.report.console import show
from reasonir.report.plots import plot_standings
from reasonir.tracking.base import Tracking
from reasonir.utils.table import RIGHT, TEXT, Table


def show_leaderboard(board: Leaderboard, results: Results, evaluated: str, folder: Path, tracking: Tracking) -> None:
    """Print the leaderboard with the system `evaluated` and write leaderboard.md, .csv and .png, if there is any."""
    standings = board.standings(results, evaluated)
    if standings is None:
        return
    files = [*write_standings(standings, folder), plot_standings(standings, folder / "leaderboard.png")]
    for file in files:
        tracking.artifact(file, "leaderboard")
    show(_table(standings))


def _table(standings: Standings) -> Table:
    columns = {"rank": RIGHT, "model": TEXT, "size": RIGHT, "mean": "{:.1f}"}
    rows = [[row.rank, row.model, row.size, row.mean, row.span, "; ".join(row.conditions)] for row in standings.rows]
    return Table(
        headline(standings),
        {**columns, CI: "{0[0]:.1f} to {0[1]:.1f}", "conditions": TEXT},
        rows,
        {number for number, row in enumerate(standings.rows) if row.kind == "evaluated"},
        notes(standings),
    )
