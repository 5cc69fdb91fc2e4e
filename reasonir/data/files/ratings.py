"""Rows of query, document and relevance, gathered by query.

Spellings of a query with the same normalised form are one query, and the first spelling is used; a pair that is rated
several times has the mean of its ratings; of several wordings of a document the first is used. A document's text is one
column, or several joined by ". ".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Annotated, NamedTuple

from annotated_types import MinLen

from reasonir.data.base import Rejected, content_id
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import SUFFIXES, Record, find, id_of, read, text_of
from reasonir.data.splits.stratified import normalise
from reasonir.errors import InputError
from reasonir.utils.values import check_number

_FILES = ("*.parquet", "data/*.parquet", "*/*.parquet", "*.csv*", "*.tsv*", "*.jsonl*", "*.json")


@dataclass(frozen=True, slots=True)
class RatingColumns:
    """Names of the columns.

    Attributes:
        query: the query.
        document: the document's id; None uses a hash of its text.
        text: the document's texts, in the order in which they are joined; only the first must be filled in every row.
        relevance: the rating.
    """

    query: str = "query"
    document: str | None = None
    text: Annotated[Sequence[str], MinLen(1)] = ("text",)
    relevance: str = "relevance"


class Rating(NamedTuple):
    """Row of a query, a document and its relevance."""

    location: str
    query: str
    doc_id: str
    text: str
    relevance: float


@dataclass(slots=True)
class RatedQuery:
    """Query with all ratings of each of its documents."""

    text: str
    ratings: dict[str, list[float]] = field(default_factory=dict)

    @property
    def relevance(self) -> dict[str, float]:
        """Relevance of each document: the mean of its ratings."""
        return {doc_id: fmean(values) for doc_id, values in self.ratings.items()}


@dataclass(frozen=True, slots=True)
class Judgements:
    """All queries by normalised form, the part of each, the documents' texts, and unused wordings."""

    queries: Mapping[str, RatedQuery]
    part_of: Mapping[str, str]
    texts: Mapping[str, str]
    other_wordings: Sequence[Rejected]

    def part(self, part: str) -> dict[str, RatedQuery]:
        """Return the queries of a part, by id."""
        return {content_id(key): query for key, query in self.queries.items() if self.part_of[key] == part}

    def documents(self, part: str) -> dict[str, None]:
        """Return the ids of all documents rated in a part, each once, in a fixed order."""
        return {doc_id: None for query in self.part(part).values() for doc_id in query.ratings}


def files_of(path: str, *, revision: str | None) -> list[Path]:
    """Return the file at `path`, or all files of the first kind in the folder or repository.

    Raises:
        InputError: there is no such file.
    """
    local = local_data(path, revision=revision)
    if local.is_file():
        return [local]
    files = find(local, _FILES, tables=True)
    if not files:
        raise InputError(f"data.path={path}: {local} has no {' or '.join(SUFFIXES)} file: give the file")
    return files


def read_ratings(
    files: Iterable[Path], columns: RatingColumns, scale: Sequence[float], *, max_words: int | None, lower: bool
) -> Iterator[Rating]:
    """Yield the rows of the files.

    Args:
        files: of any common kind.
        columns: names of their columns.
        scale: the lowest and the highest relevance.
        max_words: words to keep of the last text column; None keeps all.
        lower: convert query and text to lower case.

    Raises:
        InputError: a column is missing, or a value can't be used.
    """
    for file in files:
        for record in read(file):
            _check_columns(record, columns)
            texts = [text_of(record, name, required=name == columns.text[0]) for name in columns.text]
            if max_words:
                texts[-1] = " ".join(texts[-1].split()[:max_words])
            query, text = text_of(record, columns.query).strip(), ". ".join(t.strip() for t in texts if t)
            if lower:
                query, text = query.lower(), text.lower()
            doc_id = content_id(text) if columns.document is None else id_of(record, [columns.document])
            relevance = check_number(
                record.values[columns.relevance],
                f"{record.location}: '{columns.relevance}'",
                low=scale[0],
                high=scale[1],
                remedy="fix the row, or set data.scale to the lowest and highest relevance",
            )
            yield Rating(record.location, query, doc_id, text, relevance)


def gather(rows: Iterable[Rating]) -> tuple[dict[str, RatedQuery], dict[str, str], list[Rejected]]:
    """Return the queries by normalised form, the documents' texts by id, and the unused wordings."""
    queries: dict[str, RatedQuery] = {}
    texts: dict[str, str] = {}
    others: dict[tuple[str, str], Rejected] = {}
    for row in rows:
        if texts.setdefault(row.doc_id, row.text) != row.text:
            others.setdefault((row.doc_id, row.text), Rejected("other_wording", row.location, row.text))
        query = queries.setdefault(normalise(row.query), RatedQuery(row.query))
        query.ratings.setdefault(row.doc_id, []).append(row.relevance)
    return queries, texts, list(others.values())


def _check_columns(record: Record, columns: RatingColumns) -> None:
    named = (columns.query, columns.document, *columns.text, columns.relevance)
    if missing := [repr(name) for name in named if name is not None and name not in record.values]:
        raise InputError(
            f"{record.location}: there is no column {', '.join(missing)} among {', '.join(record.values)}: set the "
            "names in data.columns"
        )
