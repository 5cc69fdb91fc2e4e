"""Table as a value: titled rows of cells with their formats.

`reasonir.report.console` prints tables, `Table.markdown` writes them, and the HTML report lays them out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

TEXT, RIGHT = "{}", "{:>}"
"""Formats of columns whose cells are strings already: aligned left and right."""


@dataclass(frozen=True, slots=True)
class Table:
    """Titled rows of cells.

    Attributes:
        title: shown above the table.
        columns: heading -> format of the column's cells, by `str.format`. `TEXT` columns are aligned left, all
            others right. Empty for rows of a name and a value, which need no headings.
        rows: one cell for each column; None is an empty cell.
        strong: numbers of the rows in bold.
        note: explanation below the table.
        folded: the HTML report collapses it to the title.
    """

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Any]]
    strong: Collection[int] = frozenset()
    note: str = ""
    folded: bool = False

    def formats(self) -> list[str]:
        """Return the format of each column."""
        return list(self.columns.values()) or [TEXT, RIGHT]

    def cells(self) -> list[list[str]]:
        """Return the formatted rows."""
        return [
            ["" if cell is None else form.format(cell) for cell, form in zip(row, self.formats(), strict=True)]
            for row in self.rows
        ]

    def markdown(self) -> str:
        """Return the table in Markdown, padded to read as plain text too; without title and note."""
        rows = [
            [f"**{cell}**" if cell and number in self.strong else cell for cell in row]
            for number, row in enumerate(self.cells())
        ]
        lines = [[_escaped(cell) for cell in row] for row in [list(self.columns) or ["", ""], *rows]]
        widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
        left = [form == TEXT for form in self.formats()]
        rule = [":" + "-" * (n - 1) if first else "-" * (n - 1) + ":" for n, first in zip(widths, left, strict=True)]
        padded = [
            [cell.ljust(n) if first else cell.rjust(n) for cell, n, first in zip(line, widths, left, strict=True)]
            for line in lines
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])

    def text(self) -> str:
        """Return title, table and note as plain text, for logs."""
        return "\n".join(filter(None, [self.title, replace(self, strong=()).markdown(), self.note]))


def _escaped(cell: str) -> str:
    """Escape what would end the cell's column or line."""
    return " ".join(cell.replace("|", "\\|").split())
