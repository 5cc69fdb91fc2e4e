"""Tables on the terminal and in the run's log, on rank 0 only."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reasonir.distributed.launch import own_rank
from reasonir.utils.progress import PRINTED
from reasonir.utils.table import TEXT, Table

log = logging.getLogger(__name__)
_WIDTH = 240
"""Width in characters without a terminal: enough for a benchmark with twelve tasks."""
_WRAPPED, _BORDER = 40, 3
"""Width in characters above which a cell may wrap, and that of a column's padding and border."""


def show(table: Table) -> None:
    """Print a table, and write it to the run's log as plain text."""
    if own_rank() != 0:
        return
    console = Console()
    if not sys.stdout.isatty():  # notebooks set FORCE_COLOR, for which rich assumes a narrow terminal
        console = Console(width=max(_WIDTH, console.width))
    console.print(Text(table.title, style="bold"))
    for part in _parts(table, console.width):
        console.print(_rendered(part))
    if table.note:
        console.print(Text(table.note))
    log.info("%s", table.text(), extra=PRINTED)


def _widths(table: Table) -> list[int]:
    """Return the width of each column in characters, with cells above `_WRAPPED` wrapped."""
    rows = [list(table.columns) or ["", ""], *table.cells()]
    return [min(_WRAPPED, max(map(len, column))) + _BORDER for column in zip(*rows, strict=True)]


def _parts(table: Table, width: int) -> list[Table]:
    """Split the table by columns to fit the width, repeating the first column in each part."""
    parts: list[list[int]] = [[0]]
    first, *others = _widths(table)
    room = width - first - 1
    for number, needed in enumerate(others, 1):
        if needed > room and len(parts[-1]) > 1:
            parts.append([0])
            room = width - first - 1
        parts[-1].append(number)
        room -= needed
    columns = list(table.columns.items())
    return [
        replace(
            table,
            columns=dict(columns[number] for number in part if columns),
            rows=[[row[number] for number in part] for row in table.rows],
        )
        for part in parts
    ]


def _rendered(table: Table) -> RichTable:
    """Return the table for rich, with cells as plain text, never markup."""
    cells = table.cells()
    drawn = RichTable(
        show_header=bool(table.columns),
        show_lines=any(len(cell) > 2 * _WRAPPED for row in cells for cell in row),
    )
    for heading, form in zip(list(table.columns) or ["", ""], table.formats(), strict=True):
        drawn.add_column(Text(heading), justify="left" if form == TEXT else "right")
    for number, row in enumerate(cells):
        drawn.add_row(*map(Text, row), style="bold" if number in table.strong else None)
    return drawn
