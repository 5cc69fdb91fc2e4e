"""Triplets from any table: a query, its relevant documents, and documents that aren't.

A row names one positive or a list, and any number of negatives: one, a list, or numbered columns (negative_1, ...).
An element is a text, or [instruction, text] as in ReasonIR's files; a query may be [instruction, text] too. Rows with
equal queries become one example with several positives. A column `excluded` or `source_document` holds documents that
must not be mined as negatives, such as the one the query was written from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasonir.data.base import content_key
from reasonir.data.hub import local_data
from reasonir.data.records import SUFFIXES, Record, digests, find, read
from reasonir.errors import InputError
from reasonir.types import Document, Example, Task

_NAMES = {
    "query": ("query", "anchor", "question", "sentence1"),
    "positive": ("positive", "positives", "pos", "answer", "sentence2"),
    "negative": ("negative", "negatives", "neg"),
    "excluded": ("excluded", "source_document"),
}


@dataclass(frozen=True, slots=True)
class Triplets:
    """Examples from a json, jsonl, csv, tsv or parquet file, a folder of them, or a dataset repository on the hub.

    Attributes:
        path: the file, folder or hub id; in a folder the files named after `split` are read.
        split: which files of a folder.
        columns: what query, positive, negative and excluded are called, where they aren't called by a usual name.
        revision: branch, tag or commit of a hub id.
    """

    path: str
    split: str = "train"
    columns: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None

    def __post_init__(self) -> None:
        for key in self.columns:
            if key not in _NAMES:
                raise InputError(f"data.columns.{key} is unknown: name columns for {', '.join(_NAMES)}")

    @property
    def name(self) -> str:
        """The file's or folder's name."""
        return Path(self.path).name.split(".")[0]

    def identity(self) -> Mapping[str, Any]:
        """Columns and the hashes of the files."""
        files = self._files()
        return {"source": "triplets", "columns": dict(self.columns), "files": digests(files, files[0].parent)}

    def dev(self) -> Task | None:
        """None: triplets have no corpus of their own."""
        return None

    def examples(self) -> Iterator[Example]:
        """One example a distinct query."""
        grouped: dict[int, tuple[str, tuple[str, str], dict[int, Document], set[int]]] = {}
        for file in self._files():
            for record in read(file):
                column = self._column(record, "query")
                instruction, query = _element(record, column, record.values[column])
                key = content_key(query)
                query_id = str(record.values.get("query_id") or f"q{len(grouped)}")
                _, _, documents, excluded = grouped.setdefault(key, (query_id, (instruction, query), {}, set()))
                excluded.update(self._excluded(record))
                for document in self._documents(record):
                    known = documents.setdefault(content_key(document.text), document)
                    if known.label < document.label:  # a positive of one row beats a negative of another
                        documents[content_key(document.text)] = document
        for query_id, (instruction, query), documents, excluded in grouped.values():
            yield Example(query_id, query, tuple(documents.values()), instruction, tuple(sorted(excluded)))

    def _files(self) -> list[Path]:
        local = local_data(self.path, revision=self.revision)
        if local.is_file():
            return [local]
        patterns = [f"{place}{self.split}{rest}" for place in ("", "data/", "*/") for rest in (".*", "-*.parquet")]
        files = [file for file in find(local, patterns) if file.name.endswith(SUFFIXES)]
        if not files:
            there = ", ".join(sorted(file.name for file in local.iterdir())[:8]) or "nothing"
            raise InputError(f"data.split={self.split}: {local} has no file of that name (it holds {there})")
        return files

    def _names(self, role: str) -> tuple[str, ...]:
        return (self.columns[role],) if role in self.columns else _NAMES[role]

    def _excluded(self, record: Record) -> Iterator[int]:
        for name in self._names("excluded"):
            if record.values.get(name) not in (None, "", []):
                yield from (content_key(document.text) for document in _side(record, name, 0.0))

    def _column(self, record: Record, role: str) -> str:
        names = self._names(role)
        for name in names:
            if name in record.values:
                return name
        raise InputError(
            f"{record.place}: no column for the {role} ({' or '.join(names)}) among {', '.join(record.values)}: "
            f"say which it is with data.columns.{role}=<name>"
        )

    def _documents(self, record: Record) -> Iterator[Document]:
        positive = self._column(record, "positive")
        yield from _side(record, positive, 1.0)
        numbered = re.compile(rf"({'|'.join(map(re.escape, self._names('negative')))})(_?\d+)?")
        for name, value in record.values.items():
            if name != positive and numbered.fullmatch(name) and value not in (None, "", []):
                yield from _side(record, name, 0.0)


def _side(record: Record, name: str, label: float) -> Iterator[Document]:
    """The documents under a column: one text, one [instruction, text], or a list of either."""
    value = record.values[name]
    elements = value if isinstance(value, list) else [value]
    if not elements:
        raise InputError(f"{record.place}: '{name}' is empty: give at least one text or remove the row")
    for element in elements:
        instruction, text = _element(record, name, element)
        yield Document(f"{content_key(text) & 0xFFFFFFFFFFFFFFFF:016x}", text, instruction, label)


def _element(record: Record, name: str, element: Any) -> tuple[str, str]:
    """(instruction, text) of a text or an [instruction, text]."""
    instruction, text = element if isinstance(element, list) and len(element) == 2 else ("", element)
    if not isinstance(text, str) or not text.strip() or not isinstance(instruction, str):
        raise InputError(f"{record.place}: '{name}' holds {element!r}, expected a text: fill it in or remove the row")
    return instruction, text
