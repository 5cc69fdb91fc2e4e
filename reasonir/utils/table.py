"""Table as a value: titled rows of cells with their formats; and csv files for spreadsheets.

`reasonir.report.console` prints tables, `Table.markdown` writes them, and the HTML report lays them out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reasonir.utils.files import atomic_path
from reasonir.utils.values import number_of

_FORMULA = re.compile(r"'*[\s\x00]*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")
"""Start of a text that spreadsheets take for a formula, with apostrophes of its own."""
_MARKED = re.compile(rf"^'(?={_FORMULA.pattern})")
TEXT, RIGHT = "{}", "{:>}"
"""Formats of columns whose cells are strings already: aligned left and right."""


def duration(seconds: float) -> str:
    """Format seconds for people.

    >>> duration(3725)
    '1 h 02 min'
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a csv file that a spreadsheet shows as it is; the file appears only when it is complete.

    A text that a spreadsheet would run as a formula gets an apostrophe before it; `read_csv` removes it.
    """
    with atomic_path(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([_harmless(cell) for cell in row] for row in (header, *rows))


def read_csv(file: Path) -> list[dict[str, str]]:
    """Return the rows of a file that `write_csv` wrote, by their columns."""
    with file.open(newline="", encoding="utf-8") as stream:
        header, *rows = ([_MARKED.sub("", cell) for cell in row] for row in csv.reader(stream))
    return [dict(zip(header, row, strict=True)) for row in rows]


def _harmless(cell: Any) -> Any:
    if not isinstance(cell, str) or number_of(cell) == number_of(cell):
        return cell
    return f"'{cell}" if _FORMULA.match(cell) else cell


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
