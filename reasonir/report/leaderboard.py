"""Leaderboards of an evaluation: printed, and written as a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reasonir.eval.leaderboard import Leaderboard, Standings, headline, notes, write_standings
from reasonir.eval.result_table import CI
from reasonir.eval.results import Results
from reasonir.report.console import show
from reasonir.report.plots import plot_standings
from reasonir.tracking.base import Tracking
from reasonir.utils.table import RIGHT, TEXT, Table


def show_leaderboards(
    boards: Mapping[str, Leaderboard], results: Results, evaluated: str, folder: Path, tracking: Tracking
) -> None:
    """Print the leaderboards with the system `evaluated`, and write each that has rows as name.md, .csv and .png."""
    for board_name, board in boards.items():
        name = board_name if len(boards) == 1 else f"leaderboard-{board_name}"
        standings = board.standings(results, evaluated)
        if standings is None:
            continue
        for file in [*write_standings(standings, folder, name), plot_standings(standings, folder / f"{name}.png")]:
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
