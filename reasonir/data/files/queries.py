"""Files of questions: a text file with one a line, or a table with `query`, and optionally `id` and `instruction`.

BEIR's names for the same are read too (`text` and `_id`). Lines, and rows without an id, are numbered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reasonir.data.files.records import SUFFIXES, not_utf8, read, text_of
from reasonir.errors import InputError
from reasonir.types import Text

_IDS = ("id", "_id", "query_id")


def read_questions(file: Path) -> dict[str, Text]:
    """The questions by their ids, in their order.

    Raises:
        InputError: there is none, one is empty, or an id is there twice.
    """
    if not file.is_file():
        raise InputError(f"queries={file} doesn't exist: check the path")
    questions: dict[str, Text] = {}
    for place, name, text in _rows(file) if file.name.lower().endswith(SUFFIXES) else _lines(file):
        if name in questions:
            raise InputError(f"{place}: id {name!r} is there twice: give every question its own")
        questions[name] = text
    if not questions:
        raise InputError(f"queries={file} holds no questions: write one a line")
    return questions


def _rows(file: Path) -> Iterator[tuple[str, str, Text]]:
    for number, record in enumerate(read(file), 1):
        name = next((record.values[key] for key in _IDS if record.values.get(key) is not None), number)
        question = text_of(record, "text" if "text" in record.values and "query" not in record.values else "query")
        yield record.place, str(name), Text(question, str(record.values.get("instruction") or ""))


def _lines(file: Path) -> Iterator[tuple[str, str, Text]]:
    try:
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{file}, line {number}", str(number), Text(line.strip())
    except UnicodeDecodeError as error:
        raise not_utf8(file, error) from error
