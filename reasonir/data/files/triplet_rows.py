"""One row of a table of triplets: which column plays which role, and what the row says of its query."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from reasonir.data.base import content_id, content_key
from reasonir.data.files.records import Record
from reasonir.errors import InputError
from reasonir.types import Document, Example

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
"""The usual names of the columns of each role."""
TEACHER = "scores"
"""The teacher whose scores a row brings: loss.target=scores."""
_GRADES = re.compile(r"(?i)(.*_)?(labels?|scores?|relevan(t|ce)|similarity|ratings?|grades?|duplicate)([_.].*)?")
_EMPTY: tuple[Any, ...] = (None, "", [])


@dataclass(frozen=True, slots=True)
class TripletColumns:
    """The columns of a table of triplets.

    Attributes:
        named: what the column of a role is called, where it isn't called by a usual name.
        ignored: columns that are left unread.
    """

    named: Mapping[Role, str | None] = field(default_factory=dict)
    ignored: Sequence[str] = ()

    def names(self, role: Role) -> tuple[str, ...]:
        """What the column of a role may be called."""
        own = self.named.get(role)
        return (own,) if own is not None else ROLES[role]

    def find(self, record: Record, role: Role) -> tuple[str, Any] | None:
        """(name, value) of a row's column for a role; None where there is none, or nothing in it.

        Raises:
            InputError: the row lacks a column that it can't do without, or that was named.
        """
        names = self.names(role)
        for name in names:
            if name in record.values and name not in self.ignored:
                value = record.values[name]
                return None if value in _EMPTY and role not in ("query", "positive") else (name, value)
        if role in ("query", "positive") or self.named.get(role) is not None:
            raise InputError(
                f"{record.place}: no column for the {role} ({' or '.join(names)}) among {', '.join(record.values)}: "
                f"say which it is with data.columns.{role}=<name>"
            )
        return None

    def refuse_unread(self, record: Record) -> None:
        """Refuse a row with a column that grades it by its name and plays no role.

        Raises:
            InputError: naming the column, and what to do with it.
        """
        known = {name for role in ROLES for name in self.names(role)}
        for name in record.values:
            if name not in known and name not in self.ignored and _GRADES.fullmatch(name):
                raise InputError(
                    f"{record.place}: column '{name}' seems to grade the row and isn't read: for 1 relevant and 0 not, "
                    f"data.columns.label={name}; {_on_a_scale(name)}; data.ignore=[{name}] where it says nothing of "
                    "relevance"
                )


@dataclass(slots=True)
class Triplet:
    """What one row, or several of the same query, say of it."""

    place: str
    query_id: str
    query: str
    instruction: str
    documents: dict[int, Document]
    excluded: set[int]

    @classmethod
    def read(cls, record: Record, columns: TripletColumns) -> Triplet:
        """What a row says.

        Raises:
            InputError: a cell that can't be used.
        """
        named = columns.find(record, "query")
        assert named is not None
        instruction, query = _element(record, *named)
        if given := columns.find(record, "instruction"):
            instruction = _text(record, *given)
        excluded = columns.find(record, "excluded")
        keys = {content_key(document.text) for document in _side(record, *excluded, 0.0)} if excluded else set()
        found = cls(record.place, str(record.values.get("query_id") or ""), query, instruction, {}, keys)
        for document in [*_positives(record, columns), *_negatives(record, columns)]:
            found._take(document)
        return found

    def add(self, other: Triplet) -> None:
        """Take in another row of the same query."""
        for document in other.documents.values():
            self._take(document)
        self.excluded |= other.excluded

    def example(self) -> Example:
        """The query with its documents."""
        documents, excluded = tuple(self.documents.values()), tuple(sorted(self.excluded))
        return Example(self.query_id, self.query, documents, self.instruction, excluded=excluded)

    def _take(self, document: Document) -> None:
        known = self.documents.setdefault(content_key(document.text), document)
        if known.label < document.label:  # a positive of one row beats a negative of another
            self.documents[content_key(document.text)] = document


def _positives(record: Record, columns: TripletColumns) -> Iterator[Document]:
    """The documents under the positive column, relevant or not by the row's label."""
    named = columns.find(record, "positive")
    assert named is not None
    documents = _side(record, *named, 1.0)
    labels, label = [1.0] * len(documents), columns.find(record, "label")
    if label:
        labels = [_label(record, label[0], each) for each in _aligned(record, *label, len(documents))]
    for document, value in zip(_scored(record, columns, "positive_scores", documents), labels, strict=True):
        yield replace(document, label=value)


def _negatives(record: Record, columns: TripletColumns) -> Iterator[Document]:
    numbered = re.compile(rf"({'|'.join(map(re.escape, columns.names('negative')))})(_?\d+)?")
    documents = [
        document
        for name, value in record.values.items()
        if numbered.fullmatch(name) and value not in _EMPTY and name not in columns.ignored
        for document in _side(record, name, value, 0.0)
    ]
    if documents and (label := columns.find(record, "label")):
        raise InputError(
            f"{record.place}: the row has negatives, and '{label[0]}' is {label[1]!r}: a label tells whether the "
            f"positives of a row without negatives are relevant. data.ignore=[{label[0]}] leaves it out"
        )
    yield from _scored(record, columns, "negative_scores", documents)


def _scored(record: Record, columns: TripletColumns, role: Role, documents: Sequence[Document]) -> Iterator[Document]:
    """The documents with the scores that the row brings for them."""
    given = columns.find(record, role)
    if given is None:
        yield from documents
        return
    name, value = given
    for document, score in zip(documents, _aligned(record, name, value, len(documents)), strict=True):
        number = _number(score)
        if number is None:
            raise InputError(f"{record.place}: '{name}' holds {score!r}, expected a number: fix the row")
        yield replace(document, teachers={TEACHER: number})


def _aligned(record: Record, name: str, value: Any, count: int) -> list[Any]:
    """A column's values, one for each of `count` documents; one value is enough for one document."""
    values = value if isinstance(value, list) else [value]
    if len(values) != count:
        raise InputError(f"{record.place}: '{name}' is {value!r} for {count} documents: give one value for each")
    return values


def _label(record: Record, name: str, value: Any) -> float:
    number = _number(value)
    if number not in (0.0, 1.0):
        raise InputError(
            f"{record.place}: '{name}' is {value!r}, expected 1 (relevant) or 0 (not): {_on_a_scale(name)}"
        )
    return number


def _on_a_scale(name: str) -> str:
    """How rows with grades are read, as an advice."""
    return (
        f"for grades on a scale, data=graded data.columns.relevance={name} data.columns.query=<name> "
        "data.columns.text=[<name>] data.columns.document=null data.scale=[<lowest>,<highest>] "
        "data.threshold=<relevant from here on>"
    )


def _number(value: Any) -> float | None:
    """The number that a cell holds, also as a text; None where it holds none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _text(record: Record, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{record.place}: '{name}' holds {value!r}, expected a text: fix the row, or leave it empty")
    return value


def _side(record: Record, name: str, value: Any, label: float) -> list[Document]:
    """The documents of a column: one text, one [instruction, text], or a list of either."""
    elements = value if isinstance(value, list) else [value]
    if not elements:
        raise InputError(f"{record.place}: '{name}' is empty: give at least one text or remove the row")
    texts = [_element(record, name, element) for element in elements]
    return [Document(content_id(text), text, instruction, label) for instruction, text in texts]


def _element(record: Record, name: str, element: Any) -> tuple[str, str]:
    """(instruction, text) of a text or an [instruction, text]."""
    instruction, text = element if isinstance(element, list) and len(element) == 2 else ("", element)
    if not isinstance(text, str) or not text.strip() or not isinstance(instruction, str):
        raise InputError(f"{record.place}: '{name}' holds {element!r}, expected a text: fill it in or remove the row")
    return instruction, text
