"""Table as a value: titled rows of cells and how they are formatted.

Any layer makes one; `reasonir.report.console` prints it, `Table.markdown` writes it, the HTML report lays it out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

TEXT, RIGHT = "{}", "{:>}"
"""Formats of columns whose cells are strings already: aligned left and right."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings.

    Attributes:
        title: its heading.
        columns: heading -> format of the column's cells, by `str.format`. Columns of `TEXT` are aligned left, all
            others right. Empty for rows of a name and a value, which need no headings.
        rows: one cell for each column; None is an empty cell.
        strong: numbers of the rows that stand out.
        note: explains the table, below it.
        folded: the HTML report shows the title alone until it is opened.
    """

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Any]]
    strong: Collection[int] = frozenset()
    note: str = ""
    folded: bool = False

    def formats(self) -> list[str]:
        """The columns' formats."""
        return list(self.columns.values()) or [TEXT, RIGHT]

    def cells(self) -> list[list[str]]:
        """The formatted rows."""
        return [
            ["" if cell is None else form.format(cell) for cell, form in zip(row, self.formats(), strict=True)]
            for row in self.rows
        ]

    def markdown(self) -> str:
        """The table in Markdown, padded so that it reads as plain text too; without title and note."""
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
        """Title, table and note as plain text, for logs."""
        return "\n".join(filter(None, [self.title, replace(self, strong=()).markdown(), self.note]))


def _escaped(cell: str) -> str:
    """A cell that ends neither its column nor its line."""
    return " ".join(cell.replace("|", "\\|").split())
