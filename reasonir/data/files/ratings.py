"""Rows of query, document and relevance, and what they say of each query.

Spellings of a query that agree in their normalised form are one query, asked as the first of them; a pair that is
judged again has the mean of its judgements; of a document that is worded in several ways the first one counts. A
document's text is one column, or several joined by ". ".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from reasonir.data.base import Rejected, content_id
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import SUFFIXES, Record, find, read, text_of
from reasonir.data.splits.stratified import normalise
from reasonir.errors import InputError

_FILES = ("*.parquet", "data/*.parquet", "*/*.parquet", "*.csv*", "*.tsv*", "*.jsonl*", "*.json")


@dataclass(frozen=True, slots=True)
class RatingColumns:
    """What the columns are called.

    Attributes:
        query: the query.
        document: the document's id; None where it has none.
        text: of the document, in the order in which they are joined; only the first needs a text in every row.
        relevance: how relevant the document was found.
    """

    query: str = "query"
    document: str | None = None
    text: Sequence[str] = ("text",)
    relevance: str = "relevance"


class Rating(NamedTuple):
    """A row: a query, a document and its relevance."""

    place: str
    query: str
    doc_id: str
    text: str
    relevance: float


@dataclass(slots=True)
class RatedQuery:
    """A query with its documents, and all judgements of each."""

    text: str
    judged: dict[str, list[float]] = field(default_factory=dict)

    @property
    def relevance(self) -> dict[str, float]:
        """The relevance of each document: the mean of its judgements."""
        return {doc_id: fmean(values) for doc_id, values in self.judged.items()}


@dataclass(frozen=True, slots=True)
class Judgements:
    """All queries by their normalised form, with the part of each, the documents' texts, and wordings not used."""

    queries: Mapping[str, RatedQuery]
    part_of: Mapping[str, str]
    texts: Mapping[str, str]
    other_wordings: Sequence[Rejected]

    def part(self, part: str) -> dict[str, RatedQuery]:
        """The queries of a part, by their ids."""
        return {content_id(key): asked for key, asked in self.queries.items() if self.part_of[key] == part}

    def documents(self, part: str) -> dict[str, None]:
        """The ids of all documents judged in a part, each once, in a fixed order."""
        return {doc_id: None for asked in self.part(part).values() for doc_id in asked.judged}


def files_of(path: str, *, revision: str | None) -> list[Path]:
    """The file that `path` is, or all files of the first kind that the folder or repository holds.

    Raises:
        InputError: there is none.
    """
    local = local_data(path, revision=revision)
    if local.is_file():
        return [local]
    files = [file for file in find(local, _FILES) if file.name.endswith(SUFFIXES)]
    if not files:
        raise InputError(f"data.path={path}: {local} holds no {' or '.join(SUFFIXES)} file: give the file")
    return files


def read_ratings(
    files: Iterable[Path], columns: RatingColumns, scale: Sequence[float], *, max_words: int | None, lower: bool
) -> Iterator[Rating]:
    """The rows of the files.

    Args:
        files: of any common kind.
        columns: what their columns are called.
        scale: the lowest and the highest relevance.
        max_words: that are kept of the last text column.
        lower: put query and text in small letters.

    Raises:
        InputError: a column isn't there, or a value can't be used.
    """
    for file in files:
        for record in read(file):
            first, *others = columns.text
            texts = [text_of(record, first), *(str(_value(record, name) or "") for name in others)]
            if max_words:
                texts[-1] = " ".join(texts[-1].split()[:max_words])
            query, text = text_of(record, columns.query).strip(), ". ".join(t.strip() for t in texts if t.strip())
            if lower:
                query, text = query.lower(), text.lower()
            doc_id = content_id(text) if columns.document is None else str(_value(record, columns.document))
            yield Rating(record.place, query, doc_id, text, _relevance(record, columns.relevance, scale))


def gather(rows: Iterable[Rating]) -> tuple[dict[str, RatedQuery], dict[str, str], list[Rejected]]:
    """(the queries by their normalised form, the documents' texts by id, the wordings that aren't used)."""
    queries: dict[str, RatedQuery] = {}
    texts: dict[str, str] = {}
    others: dict[tuple[str, str], Rejected] = {}
    for row in rows:
        if texts.setdefault(row.doc_id, row.text) != row.text:
            others.setdefault((row.doc_id, row.text), Rejected("other_wording", row.place, row.text))
        asked = queries.setdefault(normalise(row.query), RatedQuery(row.query))
        asked.judged.setdefault(row.doc_id, []).append(row.relevance)
    return queries, texts, list(others.values())


def _relevance(record: Record, name: str, scale: Sequence[float]) -> float:
    value = _value(record, name)
    try:
        relevance = float(value)
    except (TypeError, ValueError):
        relevance = math.nan
    low, high = scale
    if not low <= relevance <= high:
        raise InputError(
            f"{record.place}: '{name}' is {value!r}, expected a number from {low:g} to {high:g}: mend the row, or say "
            "with data.scale what relevance runs from and to"
        )
    return relevance


def _value(record: Record, name: str) -> Any:
    if name not in record.values:
        raise InputError(
            f"{record.place}: there is no column '{name}' among {', '.join(record.values)}: say what it is called with "
            "data.columns"
        )
    return record.values[name]
