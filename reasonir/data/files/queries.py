"""Query files: a text file with one query per line, or a table with `query`, and optionally `id` and `instruction`.

BEIR's column names are read too (`text` and `_id`). Lines, and rows without an id, are numbered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reasonir.data.files.records import id_of, is_table, open_text, read, text_of
from reasonir.errors import InputError
from reasonir.types import Text

_IDS = ("id", "_id", "query_id")


def read_queries(file: Path) -> dict[str, Text]:
    """Return the queries by id, in file order.

    Raises:
        InputError: there is no query, one is empty, or an id is a duplicate.
    """
    if not file.is_file():
        raise InputError(f"queries={file} doesn't exist: check the path")
    queries: dict[str, Text] = {}
    for location, query_id, text in _rows(file) if is_table(file) else _lines(file):
        if query_id in queries:
            raise InputError(f"{location}: duplicate id {query_id!r}: ids must be unique")
        queries[query_id] = text
    if not queries:
        raise InputError(f"queries={file} has no queries: write one per line")
    return queries


def _rows(file: Path) -> Iterator[tuple[str, str, Text]]:
    for number, record in enumerate(read(file), 1):
        query = text_of(record, "text" if "text" in record.values and "query" not in record.values else "query")
        text = Text(query, text_of(record, "instruction", required=False))
        yield record.location, id_of(record, _IDS, number=number), text


def _lines(file: Path) -> Iterator[tuple[str, str, Text]]:
    with open_text(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{file}, line {number}", str(number), Text(line.strip())
