"""Rows of a table of triplets: the role of each column, and the documents of each query."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reasonir.data.base import content_id, content_key, copy_key
from reasonir.data.files.records import Record, check_cell, id_of, text_of, value_of
from reasonir.errors import InputError
from reasonir.types import Document, Example
from reasonir.utils.values import check_number, check_text, number_of, shorten

Role = Literal[
    "query",
    "positive",
    "negative",
    "label",
    "positive_scores",
    "negative_scores",
    "instruction",
    "split",
    "excluded",
]
ROLES: dict[Role, tuple[str, ...]] = {
    "query": ("query", "anchor", "question", "sentence1"),
    "positive": ("positive", "positives", "pos", "answer", "sentence2"),
    "negative": ("negative", "negatives", "neg"),
    "label": ("label", "labels"),
    "positive_scores": ("pos_scores",),
    "negative_scores": ("neg_scores",),
    "instruction": ("instruction", "prompt"),
    "split": ("split",),
    "excluded": ("excluded", "source_document"),
}
"""Usual column names of each role."""
TEACHER = "scores"
"""Name of the teacher whose scores are in the row: loss.target=scores."""
_TRUTHS = {"true": 1.0, "false": 0.0}
_GRADES = re.compile(r"(?i)(.*_)?(labels?|scores?|relevan(t|ce)|similarity|ratings?|grades?|duplicate)([_.].*)?")
_EMPTY: tuple[Any, ...] = (None, "", [])


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
            InputError: the row lacks a required column, or one that was named.
        """
        names = self.names(role)
        for name in names:
            if name in record.values and name not in self.ignored:
                value = value_of(record, name)
                return None if value in _EMPTY and role not in ("query", "positive") else (name, value)
        if role in ("query", "positive") or self.named.get(role) is not None:
            raise InputError(
                f"{record.location}: no column for the {role} ({' or '.join(names)}) among {', '.join(record.values)}: "
                f"name it with data.columns.{role}=<name>"
            )
        return None

    def check_unread(self, record: Record) -> None:
        """Check that no column without a role has the name of a label or score.

        Raises:
            InputError: one has; names the column and the options.
        """
        read = {name for role in ROLES for name in self.names(role)}
        for name in record.values:
            if name not in read and name not in self.ignored and _GRADES.fullmatch(name):
                raise InputError(
                    f"{record.location}: column '{name}' seems to grade the row and isn't read: if it is 1 for "
                    f"relevant and 0 for not, set data.columns.label={name}; {_on_a_scale(name)}; if it isn't about "
                    f"relevance, set data.ignore=[{name}]"
                )


@dataclass(slots=True)
class Triplet:
    """Query with its documents, from one row or several."""

    query_id: str
    query: str
    instruction: str
    documents: dict[int, Document]
    excluded: set[int]

    @classmethod
    def read(cls, record: Record, columns: TripletColumns) -> Triplet:
        """Read a row.

        Raises:
            InputError: a cell can't be used.
        """
        named = columns.find(record, "query")
        assert named is not None
        instruction, query = _element(record, *named)
        if own := columns.find(record, "instruction"):
            instruction = text_of(record, own[0], required=False)
        excluded = columns.find(record, "excluded")
        keys = {copy_key(document.text) for document in _side(record, *excluded, 0.0)} if excluded else set()
        query_id = "" if record.values.get("query_id") in (None, "") else id_of(record, ["query_id"])
        triplet = cls(query_id, query, instruction, {}, keys)
        for document in [*_positives(record, columns), *_negatives(record, columns)]:
            triplet._add(document)
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


def _positives(record: Record, columns: TripletColumns) -> Iterator[Document]:
    """Yield the documents of the positive column, relevant or not by the row's label."""
    named = columns.find(record, "positive")
    assert named is not None
    documents = _side(record, *named, 1.0)
    labels, label = [1.0] * len(documents), columns.find(record, "label")
    if label:
        labels = [_label(record, label[0], value) for value in _aligned(record, *label, len(documents))]
    for document, value in zip(_scored(record, columns, "positive_scores", documents), labels, strict=True):
        yield replace(document, label=value)


def _negatives(record: Record, columns: TripletColumns) -> Iterator[Document]:
    numbered = re.compile(rf"({'|'.join(map(re.escape, columns.names('negative')))})(_?\d+)?")
    documents = [
        document
        for name in record.values
        if numbered.fullmatch(name) and name not in columns.ignored
        if (value := value_of(record, name)) not in _EMPTY
        for document in _side(record, name, value, 0.0)
    ]
    if documents and (label := columns.find(record, "label")):
        raise InputError(
            f"{record.location}: the row has negatives, and '{label[0]}' is {shorten(label[1])}: labels are for rows "
            f"without negatives; set data.ignore=[{label[0]}] to skip the column"
        )
    yield from _scored(record, columns, "negative_scores", documents)


def _scored(record: Record, columns: TripletColumns, role: Role, documents: Sequence[Document]) -> Iterator[Document]:
    """Yield the documents with the row's scores of them, if any."""
    column = columns.find(record, role)
    if column is None:
        yield from documents
        return
    name, value = column
    for document, score in zip(documents, _aligned(record, name, value, len(documents)), strict=True):
        yield replace(document, teachers={TEACHER: check_number(score, f"{record.location}: '{name}'")})


def _aligned(record: Record, name: str, value: Any, count: int) -> list[Any]:
    """Return a column's values, one per document; a single value stands for a list of one."""
    values = value if isinstance(value, list) else [value]
    if len(values) != count:
        raise InputError(
            f"{record.location}: '{name}' is {shorten(value)} for {count} documents: give one value per document"
        )
    return values


def _label(record: Record, name: str, value: Any) -> float:
    word = str(value).strip().lower() if isinstance(value, str | bool) else ""
    number = _TRUTHS[word] if word in _TRUTHS else number_of(value)
    if number not in (0.0, 1.0):
        raise InputError(
            f"{record.location}: '{name}' is {shorten(value)}, expected 1 (relevant) or 0 (not): {_on_a_scale(name)}"
        )
    return number


def _on_a_scale(name: str) -> str:
    """Return the advice for a column of grades."""
    return (
        f"for grades on a scale, use data=graded data.columns.relevance={name} data.columns.query=<name> "
        "data.columns.text=[<name>] data.columns.document=null data.scale=[<lowest>,<highest>] "
        "data.threshold=<relevant from here on>"
    )


def _side(record: Record, name: str, value: Any, label: float) -> list[Document]:
    """Return the documents of a column: one text, one [instruction, text], or a list of either."""
    elements = value if isinstance(value, list) else [value]
    if not elements:
        raise InputError(f"{record.location}: '{name}' is empty: give at least one text or remove the row")
    texts = [_element(record, name, element) for element in elements]
    return [Document(content_id(text), text, instruction, label) for instruction, text in texts]


def _element(record: Record, name: str, element: Any) -> tuple[str, str]:
    """Return (instruction, text) of a text or an [instruction, text]."""
    instruction, text = element if isinstance(element, list) and len(element) == 2 else ("", element)
    return check_text(instruction, f"{record.location}: '{name}'", blank=True), check_cell(record, name, text)
