"""Tables on the terminal and in the run's log; first rank only."""

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
"""Columns where there is no terminal: enough for a benchmark with twelve tasks."""
_WRAPPED, _BORDER = 40, 3
"""Characters from which a cell may be wrapped, and those that a column takes beside its cells."""


def show(table: Table) -> None:
    """Print a table, and write it to the run's log as plain text."""
    if own_rank() != 0:
        return
    console = Console()
    if not sys.stdout.isatty():  # in a notebook FORCE_COLOR is set, by which rich takes it for a narrow terminal
        console = Console(width=max(_WIDTH, console.width))
    console.print(Text(table.title, style="bold"))
    for part in _parts(table, console.width):
        console.print(_rendered(part))
    if table.note:
        console.print(Text(table.note))
    log.info("%s", table.text(), extra=PRINTED)


def _widths(table: Table) -> list[int]:
    """The width of each column, as far as its cells aren't to be wrapped."""
    rows = [list(table.columns) or ["", ""], *table.cells()]
    return [min(_WRAPPED, max(map(len, column))) + _BORDER for column in zip(*rows, strict=True)]


def _parts(table: Table, width: int) -> list[Table]:
    """The table, or where the terminal is too narrow several that share its columns, each with the first one."""
    parts: list[list[int]] = [[0]]
    first, *others = _widths(table)
    room = width - first - 1
    for number, each in enumerate(others, 1):
        if each > room and len(parts[-1]) > 1:
            parts.append([0])
            room = width - first - 1
        parts[-1].append(number)
        room -= each
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
    """The rows as rich draws them; names may hold what would be markup."""
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
