"""The judged system among a benchmark's published figures: printed, and kept as a table and a figure."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from reasonir.eval.leaderboard import Leaderboard, Standings, headline, notes, write_standings
from reasonir.eval.results import Results
from reasonir.report.console import show
from reasonir.report.plots import plot_standings
from reasonir.tracking.base import Tracking


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
    found = Table(title=headline(standings), title_justify="left", caption=notes(standings), caption_justify="left")
    for column in ("place", "model", "size", "mean", "95 % interval", "how it came about"):
        found.add_column(column, justify="left" if column in ("model", "how it came about") else "right")
    for row in standings.rows:
        found.add_row(
            "" if row.place is None else str(row.place),
            row.model,
            row.size,
            f"{row.mean:.1f}",
            f"{row.span[0]:.1f} to {row.span[1]:.1f}" if row.span else "",
            "; ".join(row.how),
            style={"judged": "bold", "beside": "italic", "published": "dim" if row.place is None else None}[row.kind],
        )
    return found
