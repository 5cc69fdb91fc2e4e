"""BRIGHT's files (Su et al. 2024, arXiv:2407.12883): the documents and the queries of its twelve splits.

They are read from the hub's repository, its cache, or a folder: a configuration a folder (documents/biology-*.parquet)
as the hub has it, or a folder a split (biology/examples.jsonl.gz). Query ids collide between splits, so everything is
kept by split and id. Counts changed between revisions, so one is pinned and stands in every result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasonir.data.files.corpus_store import StoredCorpus, store
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import Record, find, read, text_of
from reasonir.errors import InputError

HUB_ID = "xlangai/BRIGHT"
REVISION = "a75a0eb483f6a5233a6efc2d63d71540a4443dfb"
"""The revision that mteb pins, with 1,384 queries."""
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
    """The local folder behind `path`.

    Raises:
        InputError: it can't be reached, or is a file.
    """
    folder = local_data(path, revision=revision, key=key)
    if not folder.is_dir():
        raise InputError(f"{key}={path} is a file: give the folder that holds BRIGHT's splits")
    return folder


def files_of(folder: Path, configuration: str, split: str) -> list[Path]:
    """The files of a split's configuration (documents, long_documents, examples, gpt4_reason, ...), if any."""
    return find(
        folder,
        [
            f"{split}/{configuration}.*",
            f"{configuration}/{split}-*.parquet",
            f"{configuration}/{split}.*",
            f"{configuration}/{split}/*",
        ],
    )


def read_corpus(folder: Path, split: str, kept: Path, *, long: bool = False) -> StoredCorpus:
    """A split's documents, equal ids with equal content once; on the disk in the folder `kept`.

    Raises:
        InputError: no files, a malformed row, or one id with two contents.
    """
    files = files_of(folder, _configuration(long=long), split)
    return store(lambda: documents(folder, split, long=long), files, kept, what=f"BRIGHT {split}")


def documents(folder: Path, split: str, *, long: bool = False) -> Iterator[tuple[str, str, str]]:
    """(id, text, place) of a split's documents, streamed.

    Raises:
        InputError: no files, or a malformed row.
    """
    for record in _rows(folder, _configuration(long=long), split):
        doc_id, text = text_of(record, "id"), record.values.get("content")
        if not isinstance(text, str):
            raise InputError(f"{record.place}: 'content' is {text!r}, expected a text: mend the row")
        yield doc_id, text, record.place


def read_queries(folder: Path, split: str, configuration: str = "examples") -> Iterator[Record]:
    """A split's rows of queries: id, query, gold_ids, gold_ids_long and excluded_ids, the latter three lists of ids.

    Raises:
        InputError: no files, or a malformed row.
    """
    seen: set[str] = set()
    for record in _rows(folder, configuration, split):
        values = dict(record.values)
        query_id = text_of(record, "id")
        text_of(record, "query")
        if query_id in seen:
            raise InputError(f"{record.place}: query id {query_id!r} is there twice: remove one of the rows")
        seen.add(query_id)
        for key in ("gold_ids", "gold_ids_long", "excluded_ids"):
            values[key] = _ids(record, key)
        yield Record(record.place, values)


def _configuration(*, long: bool) -> str:
    return "long_documents" if long else "documents"


def _ids(record: Record, key: str) -> list[str]:
    """A list of ids; BRIGHT writes ["N/A"] or [] for none."""
    value: Any = record.values.get(key)
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{record.place}: {key!r} is {value!r}, expected a list of ids: mend the row")
    # Interned, because the queries of aops exclude the same few thousand documents over and over.
    return [sys.intern(item) for item in value if item != _NONE]


def _rows(folder: Path, configuration: str, split: str) -> Iterator[Record]:
    files = files_of(folder, configuration, split)
    if not files:
        raise InputError(
            f"{folder} has no {configuration} of split {split}: expected {split}/{configuration}.jsonl or "
            f"{configuration}/{split}-*.parquet"
        )
    for file in files:
        yield from read(file)
