"""Triplets from any table: a query, its relevant documents, and documents that aren't.

A row names one positive or a list, and any number of negatives: one, a list, or numbered columns (negative_1, ...).
An element is a text, or [instruction, text] as in ReasonIR's files; a query may be [instruction, text] too. Rows with
equal queries become one example with several positives. A column `excluded` or `source_document` holds documents that
must not be mined as negatives, such as the one the query was written from. With `splits` some queries are kept for dev
and test, whole components of shared relevant documents at a time, and search the documents of all rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasonir.data.base import Rejected, content_id, content_key
from reasonir.data.holdout import components, draw_groups
from reasonir.data.hub import local_data
from reasonir.data.parts import apart, asked_about, check_shares, sizes
from reasonir.data.records import SUFFIXES, Record, digests, find, read
from reasonir.errors import InputError
from reasonir.types import Corpus, Document, Example, Task, Text

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
        splits: shares of the queries for train, dev and test; None trains on all of them.
        seed: of those shares.
    """

    path: str
    split: str = "train"
    columns: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None
    splits: Sequence[float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.splits is not None:
            check_shares(self.splits)
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
        parts = {"splits": list(self.splits), "seed": self.seed} if self.splits else {}
        files_of = digests(files, files[0].parent)
        return {"source": "triplets", "columns": dict(self.columns), **parts, "files": files_of}

    def examples(self) -> Iterator[Example | Rejected]:
        """One example a distinct query of the training share."""
        found = list(self._queries())
        parts = self._parts(found)
        held = asked_about([*parts["dev"], *parts["test"]])
        for example in parts["train"]:
            yield from apart(example, held)

    def dev(self) -> Task | None:
        """The dev share over all documents; None without one."""
        return self._task("dev") if self.splits and self.splits[1] else None

    def tests(self) -> Iterator[Task]:
        """The test share over all documents, if there is one."""
        if self.splits and self.splits[2]:
            yield self._task("test")

    def _task(self, part: str) -> Task:
        found = list(self._queries())
        asked = self._parts(found)[part]
        texts = {document.doc_id: document.text for example in found for document in example.documents}
        shares = "/".join(map(str, self.splits or ()))
        return Task(
            name="triplets",
            queries={example.query_id: Text(example.query, example.instruction) for example in asked},
            corpus=Corpus(list(texts), list(texts.values())),
            qrels={example.query_id: {document.doc_id: 1 for document in example.positives} for example in asked},
            protocol={
                "collection": self.name,
                "split": part,
                "shares": shares,
                "documents": str(len(texts)),
            },
        )

    def _parts(self, found: Sequence[Example]) -> dict[str, list[Example]]:
        """The examples of each part, no two parts sharing a relevant document.

        Raises:
            InputError: the queries share too many of them.
        """
        if self.splits is None:
            return {"train": list(found), "dev": [], "test": []}
        wanted = sizes(len(found), self.splits, "queries")
        positives = [[content_key(document.text) for document in example.positives] for example in found]
        groups = components([content_key(example.query) for example in found], positives)
        dev, test = draw_groups(groups, wanted, seed=self.seed)
        for name, rows, most in (("dev", dev, wanted[0]), ("test", test, wanted[1])):
            if most and not rows:
                raise InputError(
                    f"data.splits={list(self.splits)}: no {most} of {len(found)} queries can be kept for {name} that "
                    "share no relevant document with the rest (the largest group of queries that do has "
                    f"{max(map(len, groups))}): give them a larger share, or 0"
                )
        train = sorted(set(range(len(found))) - {*dev, *test})
        return {
            name: [found[row] for row in sorted(rows)]
            for name, rows in (("train", train), ("dev", dev), ("test", test))
        }

    def _queries(self) -> Iterator[Example]:
        """One example a distinct query of the files."""
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
            yield Example(query_id, query, tuple(documents.values()), instruction, excluded=tuple(sorted(excluded)))

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
        yield Document(content_id(text), text, instruction, label)


def _element(record: Record, name: str, element: Any) -> tuple[str, str]:
    """(instruction, text) of a text or an [instruction, text]."""
    instruction, text = element if isinstance(element, list) and len(element) == 2 else ("", element)
    if not isinstance(text, str) or not text.strip() or not isinstance(instruction, str):
        raise InputError(f"{record.place}: '{name}' holds {element!r}, expected a text: fill it in or remove the row")
    return instruction, text
