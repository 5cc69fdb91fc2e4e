"""Rows of a table of triplets: the role of each column, and the documents of each query."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reasonir.data.base import content_id, content_key, copy_key
from reasonir.data.files.records import Record, check_cell, document_text, id_of, text_of, value_of
from reasonir.data.files.texts_by_id import Texts, texts_of
from reasonir.errors import InputError
from reasonir.types import Document, Example
from reasonir.utils.values import check_id, check_number, check_text, number_of, shorten

Role = Literal[
    "query",
    "positive",
    "negative",
    "documents",
    "label",
    "scores",
    "positive_scores",
    "negative_scores",
    "instruction",
    "split",
    "excluded",
    "query_id",
    "document_ids",
    "positive_ids",
    "negative_ids",
]
ROLES: dict[Role, tuple[str, ...]] = {
    "query": ("query", "anchor", "question", "sentence1"),
    "positive": ("positive", "positives", "pos", "answer", "sentence2", "positive_passages", "document", "passage"),
    "negative": ("negative", "negatives", "neg", "negative_passages"),
    "documents": ("documents", "docs", "passages"),
    "label": ("label", "labels"),
    "scores": ("scores", "score"),
    "positive_scores": ("pos_scores",),
    "negative_scores": ("neg_scores",),
    "instruction": ("instruction", "prompt"),
    "split": ("split",),
    "excluded": ("excluded", "source_document"),
    "query_id": ("query_id", "qid"),
    "document_ids": ("document_ids", "doc_ids", "passage_ids"),
    "positive_ids": ("positive_ids", "positive_id"),
    "negative_ids": ("negative_ids", "negative_id"),
}
"""Usual column names of each role."""
DOCUMENTS: tuple[Role, ...] = ("positive", "documents", "document_ids", "positive_ids")
"""Roles of the columns that hold a row's relevant documents, in the order in which they are looked for."""
TEACHER = "scores"
"""Name of the teacher whose scores are in the row: loss.target=scores."""
_TRUTHS = {"true": 1.0, "false": 0.0}
_GRADES = re.compile(r"(?i)(.*_)?(labels?|scores?|relevan(t|ce)|similarity|ratings?|grades?|duplicate)([_.].*)?")
_NO_ID: tuple[Any, ...] = (None, "")
_EMPTY = (*_NO_ID, [])


@dataclass(frozen=True, slots=True)
class TripletColumns:
    """Columns of a table of triplets.

    Attributes:
        named: column of a role, if it doesn't have a usual name.
        ignored: columns that aren't read.
    """

    named: Mapping[Role, str | None] = field(default_factory=dict)
    ignored: Sequence[str] = ()

    def names(self, role: Role) -> tuple[str, ...]:
        """Return the possible names of a role's column."""
        name = self.named.get(role)
        return (name,) if name is not None else ROLES[role]

    def find(self, record: Record, role: Role) -> tuple[str, Any] | None:
        """Return (name, value) of a row's column for a role; None if it is missing or empty.

        Raises:
            InputError: the row lacks a column that was named.
        """
        for name in self.names(role):
            if name in record.values and name not in self.ignored:
                value = value_of(record, name)
                return None if value in (_NO_ID if role == "query_id" else _EMPTY) else (name, value)
        if self.named.get(role) is not None:
            raise self._missing(record, role)
        return None

    def require(self, record: Record, *roles: Role) -> tuple[Role, str, Any]:
        """Return (role, name, value) of the first of several roles that a row has a column for, which may be empty.

        Raises:
            InputError: it has none of them.
        """
        for role in roles:
            for name in self.names(role):
                if name in record.values and name not in self.ignored:
                    return role, name, value_of(record, name)
            if self.named.get(role) is not None:
                raise self._missing(record, role)
        raise self._missing(record, roles[0])

    def layout(self, record: Record) -> str:
        """Return the layout of a row by its columns, in the words of sentence-transformers, with the columns read."""
        found = {role: named[0] for role in ROLES if (named := self.find(record, role))}
        negatives = [name for name in record.values if self.is_negative(name) and record.values[name] not in _EMPTY]
        scored = "scores" in found or "positive_scores" in found
        if {"documents", "document_ids"} & set(found):
            kind = "scored list" if scored else "labelled list" if "label" in found else "list"
        elif negatives or "negative_ids" in found:
            many = len(negatives) > 1 or any(isinstance(value_of(record, name), list) for name in negatives)
            kind = f"{'n-tuple' if many else 'triplet'}{' with scores' if scored else ''}"
        else:
            kind = "labelled pair" if "label" in found else "pair"
        by_id = " by id" if self.by_id(record) else ""
        return f"{kind}{by_id} ({', '.join(dict.fromkeys([*found.values(), *negatives]))})"

    def by_id(self, record: Record) -> bool:
        """Return whether a row names its query or its documents by id."""
        query, _, _ = self.require(record, "query", "query_id")
        documents, _, _ = self.require(record, *DOCUMENTS)
        return query == "query_id" or documents in ("document_ids", "positive_ids")

    def is_negative(self, name: str) -> bool:
        """Return whether a column holds negatives: negative, negatives, negative_1, ..."""
        names = "|".join(map(re.escape, self.names("negative")))
        return name not in self.ignored and re.fullmatch(rf"({names})(_?\d+)?", name) is not None

    def _missing(self, record: Record, role: Role) -> InputError:
        return InputError(
            f"{record.location}: no column for the {role} ({' or '.join(self.names(role))}) among "
            f"{', '.join(record.values)}: name it with data.columns.{role}=<name>"
        )

    def check_unread(self, record: Record) -> None:
        """Check that no column without a role has the name of a label or score.

        Raises:
            InputError: one has; names the column and the options.
        """
        read = {name for role in ROLES for name in self.names(role)}
        for name in record.values:
            if name not in read and name not in self.ignored and _GRADES.fullmatch(name):
                raise _unread(record, name)


@dataclass(frozen=True, slots=True)
class Entry:
    """Document of a row: its element in a column, whether that is an id, its label, and its score, if there is one."""

    column: str
    element: Any
    by_id: bool
    label: float
    score: float | None = None


@dataclass(slots=True)
class Triplet:
    """Query with its documents, from one row or several."""

    query_id: str
    query: str
    instruction: str
    documents: dict[int, Document]
    excluded: set[int]

    @classmethod
    def read(
        cls, record: Record, columns: TripletColumns, texts: Texts | None = None, *, list_size: int | None = None
    ) -> Triplet:
        """Read a row.

        Args:
            record: the row.
            columns: of the table.
            texts: texts of the ids in the row.
            list_size: see `entries_of`.

        Raises:
            InputError: a cell can't be used.
        """
        role, name, value = columns.require(record, "query", "query_id")
        query_id = id_of(record, [named[0]]) if (named := columns.find(record, "query_id")) else ""
        if role == "query_id":
            instruction, query = "", texts_of(texts, record).query(record, name, value)
        else:
            instruction, query = _element(record, name, value)
        if own := columns.find(record, "instruction"):
            instruction = text_of(record, own[0], required=False)
        excluded = columns.find(record, "excluded")
        keys = (
            {copy_key(_element(record, excluded[0], each)[1]) for each in _listed(excluded[1])} if excluded else set()
        )
        triplet = cls(query_id, query, instruction, {}, keys)
        for entry in entries_of(record, columns, list_size=list_size):
            triplet._add(_document(record, entry, texts))
        return triplet

    def add(self, other: Triplet) -> None:
        """Add another row of the same query."""
        for document in other.documents.values():
            self._add(document)
        self.excluded |= other.excluded

    def example(self) -> Example:
        """Return the query with its documents."""
        documents, excluded = tuple(self.documents.values()), tuple(sorted(self.excluded))
        return Example(self.query_id, self.query, documents, self.instruction, excluded=excluded)

    def _add(self, document: Document) -> None:
        key = content_key(document.text, document.instruction)
        first = self.documents.setdefault(key, document)
        if first.label < document.label:  # a positive of one row beats a negative of another
            self.documents[key] = document


def entries_of(record: Record, columns: TripletColumns, *, list_size: int | None = None) -> list[Entry]:
    """Return the documents of a row, the relevant ones first.

    Args:
        record: the row.
        columns: of the table.
        list_size: of longer lists, the relevant documents and others evenly spaced by score, else by position, are
            taken up to this number; None takes all.

    Raises:
        InputError: a cell can't be used.
    """
    role, name, value = columns.require(record, *DOCUMENTS)
    if role in ("documents", "document_ids"):
        entries = _list(record, columns, role, name, value)
    else:
        entries = _positives(record, columns, role, name, value)
        negatives = list(_negatives(record, columns))
        if negatives and (label := columns.find(record, "label")):
            raise InputError(
                f"{record.location}: the row has negatives, and '{label[0]}' is {shorten(label[1])}: labels are for "
                f"rows without negatives; set data.ignore=[{label[0]}] to skip the column"
            )
        entries = _with_scores(record, columns, [*entries, *negatives])
    relevant = [entry for entry in entries if entry.label > 0]
    others = [entry for entry in entries if entry.label <= 0]
    if list_size and len(entries) > list_size:
        if all(entry.score is not None for entry in others):
            others.sort(key=lambda entry: -(entry.score or 0.0))
        wanted = max(0, list_size - len(relevant))
        others = [others[index * len(others) // wanted] for index in range(wanted)] if wanted < len(others) else others
    return [*relevant, *others]


def ids_of(
    record: Record, columns: TripletColumns, queries: set[str], documents: set[str], *, list_size: int | None = None
) -> None:
    """Add the ids that a row gives for texts to those of queries and documents."""
    role, name, value = columns.require(record, "query", "query_id")
    if role == "query_id":
        queries.add(check_id(value, f"{record.location}: '{name}'"))
    for entry in entries_of(record, columns, list_size=list_size):
        if entry.by_id:
            documents.add(check_id(entry.element, f"{record.location}: '{entry.column}'"))


def _list(record: Record, columns: TripletColumns, role: Role, name: str, value: Any) -> list[Entry]:
    """Return the documents of a list, relevant by label or by id; of a list with neither the first is relevant."""
    elements = _filled(record, name, value)
    if stated := _labels(record, columns, len(elements)):
        labels = stated
    elif relevant := columns.find(record, "positive_ids"):
        relevant_ids = {str(each) for each in _listed(relevant[1])}
        labels = [float(str(each) in relevant_ids) for each in elements]
    else:
        labels = [1.0] + [0.0] * (len(elements) - 1)
    entries = [
        Entry(name, element, role == "document_ids", each) for element, each in zip(elements, labels, strict=True)
    ]
    return _with_scores(record, columns, entries)


def _positives(record: Record, columns: TripletColumns, role: Role, name: str, value: Any) -> list[Entry]:
    """Return the documents of the positive column, relevant or not by the row's label."""
    elements = _filled(record, name, value)
    labels = _labels(record, columns, len(elements)) or [1.0] * len(elements)
    scores = _own_scores(record, columns, "positive_scores", len(elements))
    return [
        Entry(name, *each)
        for each in zip(elements, [role == "positive_ids"] * len(elements), labels, scores, strict=True)
    ]


def _negatives(record: Record, columns: TripletColumns) -> Iterator[Entry]:
    elements = [
        (name, element)
        for name in record.values
        if columns.is_negative(name) and (value := value_of(record, name)) not in _EMPTY
        for element in _filled(record, name, value)
    ]
    by_id = not elements
    if by_id and (named := columns.find(record, "negative_ids")):
        elements = [(named[0], each) for each in _listed(named[1])]
    scores = _own_scores(record, columns, "negative_scores", len(elements))
    for (name, element), score in zip(elements, scores, strict=True):
        yield Entry(name, element, by_id, 0.0, score)


def _own_scores(record: Record, columns: TripletColumns, role: Role, count: int) -> list[float | None]:
    """Return the scores that a column gives the documents of another, one each; None without the column."""
    column = columns.find(record, role)
    if column is None:
        return [None] * count
    name, value = column
    return [check_number(score, f"{record.location}: '{name}'") for score in _aligned(record, name, value, count)]


def _with_scores(record: Record, columns: TripletColumns, entries: list[Entry]) -> list[Entry]:
    """Return the entries with the scores that one column gives all documents of the row, positives first."""
    column = columns.find(record, "scores")
    if column is None or any(entry.score is not None for entry in entries):
        return entries
    name, value = column
    if not isinstance(value, list) and not columns.find(record, "label"):
        raise _unread(record, name)
    scores = _own_scores(record, columns, "scores", len(entries))
    return [replace(entry, score=score) for entry, score in zip(entries, scores, strict=True)]


def _aligned(record: Record, name: str, value: Any, count: int) -> list[Any]:
    """Return a column's values, one per document; a single value stands for a list of one."""
    values = _listed(value)
    if len(values) != count:
        raise InputError(
            f"{record.location}: '{name}' is {shorten(value)} for {count} documents: give one value per document"
        )
    return values


def _labels(record: Record, columns: TripletColumns, count: int) -> list[float] | None:
    """Return the labels of a row's documents; None without the column."""
    label = columns.find(record, "label")
    return None if label is None else [_label(record, label[0], each) for each in _aligned(record, *label, count)]


def _label(record: Record, name: str, value: Any) -> float:
    word = str(value).strip().lower() if isinstance(value, str | bool) else ""
    number = _TRUTHS[word] if word in _TRUTHS else number_of(value)
    if number not in (0.0, 1.0):
        raise InputError(
            f"{record.location}: '{name}' is {shorten(value)}, expected 1 (relevant) or 0 (not): {_on_a_scale(name)}"
        )
    return number


def _unread(record: Record, name: str) -> InputError:
    return InputError(
        f"{record.location}: column '{name}' seems to grade the row and isn't read: if it is 1 for relevant and 0 "
        f"for not, set data.columns.label={name}; {_on_a_scale(name)}; if it isn't about relevance, set "
        f"data.ignore=[{name}]"
    )


def _on_a_scale(name: str) -> str:
    """Return the advice for a column of grades."""
    return (
        f"for grades on a scale, use data=graded data.columns.relevance={name} data.columns.query=<name> "
        "data.columns.text=[<name>] data.columns.document=null data.scale=[<lowest>,<highest>] "
        "data.threshold=<relevant from here on>"
    )


def _filled(record: Record, name: str, value: Any) -> list[Any]:
    """Return the elements of a column of documents: one, or a list of them."""
    if not (elements := _listed(value)):
        raise InputError(f"{record.location}: '{name}' is empty: give at least one text or remove the row")
    return elements


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _document(record: Record, entry: Entry, texts: Texts | None) -> Document:
    teachers = {} if entry.score is None else {TEACHER: entry.score}
    if entry.by_id:
        doc_id, text = texts_of(texts, record).document(record, entry.column, entry.element)
        return Document(doc_id, text, "", entry.label, teachers)
    instruction, text = _element(record, entry.column, entry.element)
    return Document(content_id(text), text, instruction, entry.label, teachers)


def _element(record: Record, name: str, element: Any) -> tuple[str, str]:
    """Return (instruction, text) of a text, an [instruction, text], or an object with a text and perhaps a title."""
    if isinstance(element, dict):
        inner = Record(f"{record.location}: '{name}'", element)
        text_of(inner, "text")
        return "", document_text(inner)
    instruction, text = element if isinstance(element, list) and len(element) == 2 else ("", element)
    return check_text(instruction, f"{record.location}: '{name}'", blank=True), check_cell(record, name, text)
