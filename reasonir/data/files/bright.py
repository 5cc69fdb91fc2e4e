"""BRIGHT's files (Su et al. 2024, arXiv:2407.12883): the documents and the queries of its twelve splits.

They are read from the hub, its cache, or a folder, with one folder per configuration (documents/biology-*.parquet), as
on the hub, or one per split (biology/examples.jsonl.gz). Query ids collide between splits, so data is read by split.
Counts changed between revisions, so one is pinned and recorded in every result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from reasonir.data.files.corpus_store import StoredCorpus, store
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import Record, find, id_of, read, text_of, value_of
from reasonir.errors import InputError
from reasonir.utils.values import check_id, check_text, shorten

HUB_ID = "xlangai/BRIGHT"
REVISION = "a75a0eb483f6a5233a6efc2d63d71540a4443dfb"
"""Revision that mteb pins, with 1,384 queries."""
GROUPS = {
    "stackexchange": (
        "biology",
        "earth_science",
        "economics",
        "psychology",
        "robotics",
        "stackoverflow",
        "sustainable_living",
    ),
    "coding": ("leetcode", "pony"),
    "theorems": ("aops", "theoremqa_questions", "theoremqa_theorems"),
}
SPLITS = tuple(split for group in GROUPS.values() for split in group)
LONG_SPLITS = (*GROUPS["stackexchange"], "pony")
_NONE = "N/A"


def folder_of(path: str, *, revision: str | None, key: str) -> Path:
    """Return the local folder behind `path`.

    Raises:
        InputError: it isn't available, or is a file.
    """
    folder = local_data(path, revision=revision, key=key)
    if not folder.is_dir():
        raise InputError(f"{key}={path} is a file: give the folder that holds BRIGHT's splits")
    return folder


def files_of(folder: Path, configuration: str, split: str) -> list[Path]:
    """Return the files of a split's configuration (documents, long_documents, examples, gpt4_reason, ...), if any."""
    return find(
        folder,
        [
            f"{split}/{configuration}.*",
            f"{configuration}/{split}-*.parquet",
            f"{configuration}/{split}.*",
            f"{configuration}/{split}/*",
        ],
    )


def read_corpus(folder: Path, split: str, cache: Path, *, long: bool = False) -> StoredCorpus:
    """Return a split's documents, each id once, stored in the folder `cache`.

    Raises:
        InputError: no files, a malformed row, or one id with two contents.
    """
    files = files_of(folder, _configuration(long=long), split)
    return store(lambda: documents(folder, split, long=long), files, cache, what=f"BRIGHT {split}")


def documents(folder: Path, split: str, *, long: bool = False) -> Iterator[tuple[str, str, str]]:
    """Yield (id, text, location) of a split's documents.

    Raises:
        InputError: no files, or a malformed row.
    """
    for record in _rows(folder, _configuration(long=long), split):
        content = check_text(record.values.get("content"), f"{record.location}: 'content'", blank=True)
        yield id_of(record), content, record.location


def read_queries(folder: Path, split: str, configuration: str = "examples") -> Iterator[Record]:
    """Yield a split's queries: id, query, and the lists of ids gold_ids, gold_ids_long and excluded_ids.

    Raises:
        InputError: no files, or a malformed row.
    """
    seen: set[str] = set()
    for record in _rows(folder, configuration, split):
        query_id = id_of(record)
        values = {**record.values, "id": query_id, "query": text_of(record, "query")}
        if query_id in seen:
            raise InputError(f"{record.location}: duplicate query id {query_id!r}: remove one of the rows")
        seen.add(query_id)
        for key in ("gold_ids", "gold_ids_long", "excluded_ids"):
            values[key] = ids_of(record, key)
        yield record._replace(values=values)


def _configuration(*, long: bool) -> str:
    return "long_documents" if long else "documents"


def ids_of(record: Record, key: str) -> list[str]:
    """Return a list of ids; BRIGHT writes ["N/A"] or [] for none.

    Raises:
        InputError: it is no list of ids.
    """
    value = value_of(record, key)
    if value is not None and not isinstance(value, list):
        raise InputError(f"{record.location}: '{key}' is {shorten(value)}, expected a list of ids: fix the row")
    ids = [check_id(item, f"{record.location}: an item of '{key}'", remedy="fix the row") for item in value or ()]
    # Interned, since all queries of aops exclude the same few thousand documents.
    return [sys.intern(doc_id) for doc_id in ids if doc_id != _NONE]


def _rows(folder: Path, configuration: str, split: str) -> Iterator[Record]:
    files = files_of(folder, configuration, split)
    if not files:
        raise InputError(
            f"{folder} has no {configuration} of split {split}: expected {split}/{configuration}.jsonl or "
            f"{configuration}/{split}-*.parquet"
        )
    for file in files:
        yield from read(file)
