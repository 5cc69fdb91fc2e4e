"""Documents to search: a collection in the BEIR layout, a table, a text file, or a folder of text files.

A table has a column `text`, and may have `id` (or `_id`, `doc_id`) and `title`, which is prepended to the text. Rows
without an id are numbered.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from reasonir.data.files.beir import part_files
from reasonir.data.files.hub import local_data
from reasonir.data.files.raw_documents import IDS, RawText, read_texts
from reasonir.data.files.records import document_text, id_of, is_table, read, text_or_blank
from reasonir.errors import InputError
from reasonir.utils.files import add_strings

log = logging.getLogger(__name__)


def read_documents(path: str) -> dict[str, str]:
    """Return the texts of a corpus by id, in file order; documents without text are left out, with a warning.

    Args:
        path: file, folder, or hub id of a collection.

    Raises:
        InputError: there is no document with a text, a row has no column for it, or an id has two texts.
    """
    local = local_data(path, key="corpus")
    documents: dict[str, str] = {}
    empty: list[str] = []
    for doc_id, text, location in _documents(local):
        if not text:
            empty.append(location)
        elif documents.setdefault(doc_id, text) != text:
            raise InputError(f"{location}: id {doc_id!r} has a second text: ids must be unique")
    if empty:
        log.warning("Left out: %d documents without text, for instance %s", len(empty), empty[0])
    if not documents:
        raise InputError(f"corpus={path} has no documents: give a file or folder with some")
    return documents


def content_of(documents: Mapping[str, str]) -> str:
    """Return a digest of these ids and texts in this order."""
    digest = hashlib.sha256()
    add_strings(digest, chain.from_iterable(documents.items()))
    return digest.hexdigest()[:16]


def _documents(path: Path) -> Iterator[RawText]:
    tables = part_files(path, "corpus") if path.is_dir() else [path] if is_table(path) else []
    if not tables:
        yield from read_texts(path, key="corpus")
    for number, record in enumerate(chain.from_iterable(map(read, tables)), 1):
        text = document_text(record) or text_or_blank(record)
        yield RawText(id_of(record, IDS, number=number), text, record.location)
