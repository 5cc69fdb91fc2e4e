"""Raw documents: a text file, a folder of text files, or a table with a column `text`.

In a text file every paragraph is a document, separated by blank lines; without blank lines every line is one. In a
folder every .txt and .md file is a document.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reasonir.data.files.records import SUFFIXES, id_of, is_table, open_text, read, text_or_blank
from reasonir.errors import InputError
from reasonir.utils.values import check_id

_KINDS = (".txt", ".md")
IDS = ("_id", "id", "doc_id")
"""Usual names of the id column."""


class RawText(NamedTuple):
    """Document as it was read; its text may be empty."""

    doc_id: str
    text: str
    location: str


def text_files(path: Path, *, key: str = "data.path") -> list[Path]:
    """Return the files with documents: `path` itself, or those of a folder; messages call it `key`.

    Raises:
        InputError: the file is of another kind, or the folder has none.
    """
    if path.is_file():
        if path.suffix.lower() not in _KINDS and not is_table(path):
            raise InputError(f"{key}={path} is of an unknown kind: expected one of {', '.join(_KINDS + SUFFIXES)}")
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _KINDS and file.is_file())
    if not files:
        raise InputError(f"{key}={path}: the folder has no {' or '.join(_KINDS)} file: put the documents there")
    return files


def read_texts(path: Path, *, key: str = "data.path") -> Iterator[RawText]:
    """Yield the documents in a fixed order.

    Raises:
        InputError: see `text_files`; or a file isn't UTF-8, or a row has no text.
    """
    files = text_files(path, key=key)
    if path.is_dir():
        for file in files:
            doc_id = check_id(str(file.relative_to(path)), f"the name of {str(file)!r}", remedy="rename it")
            yield RawText(doc_id, "".join(_lines(file)).strip(), str(file))
    elif path.suffix.lower() in _KINDS:
        yield from _of_text_file(path)
    else:
        for number, record in enumerate(read(path), 1):
            yield RawText(id_of(record, IDS, number=number), text_or_blank(record).strip(), record.location)


def _of_text_file(file: Path) -> Iterator[RawText]:
    paragraphs = _has_blank_lines(file)
    lines: list[str] = []
    first = 1
    for number, line in enumerate(_lines(file), 1):
        if line.strip():
            first = first if lines else number
            lines.append(line)
        if lines and (not line.strip() or not paragraphs):
            yield _document(file, first, lines)
            lines = []
    if lines:
        yield _document(file, first, lines)


def _document(file: Path, first: int, lines: list[str]) -> RawText:
    return RawText(f"{file.stem}:{first}", "".join(lines).strip(), f"{file}, line {first}")


def _has_blank_lines(file: Path) -> bool:
    """Return whether there is a blank line between two lines of text."""
    seen = blank = False
    for line in _lines(file):
        if line.strip() and blank:
            return True
        seen = seen or bool(line.strip())
        blank = seen and not line.strip()
    return False


def _lines(file: Path) -> Iterator[str]:
    with open_text(file) as lines:
        yield from lines
