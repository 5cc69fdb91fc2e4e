"""What a source is: anything that yields examples. One file each here, one YAML each in conf/data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from reasonir.types import Document, Example, Task


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something of a source that isn't used: the kind of reason, where it stands, and what it is."""

    kind: str
    place: str
    detail: str


class Source(Protocol):
    """Training data by its origin."""

    @property
    def name(self) -> str:
        """A short name for folders and tables."""

    def identity(self) -> Mapping[str, Any]:
        """Everything the examples depend on, as plain values: equal identities mean equal examples."""

    def examples(self) -> Iterator[Example | Rejected]:
        """The examples, in a fixed order; each with a query, an id and at least one document.

        Those without a positive train heads that read pairs, by what isn't relevant; retrievers leave them out.

        What is left out is said in between and goes into the prepared set's report.

        Raises:
            InputError: naming file, row, value and remedy.
        """

    def dev(self) -> Task | None:
        """The source's own development task, if it brings one; otherwise part of the examples is held out."""


@runtime_checkable
class Tested(Protocol):
    """A source that keeps queries for testing: `eval=test_split` evaluates on them."""

    def tests(self) -> Iterator[Task]:
        """Tasks whose queries and relevant documents its examples hold nothing of."""


class HeldOut(Protocol):
    """Training data that kept queries for testing, whether its source did or part of its rows was held out."""

    @property
    def data_name(self) -> str:
        """A short name for tables."""

    def tests(self) -> Sequence[Task]:
        """Tasks whose queries and relevant documents aren't trained on."""

    def test_examples(self) -> Sequence[Example]:
        """The rows that were held out, as examples; none where the source keeps test queries of its own."""


@runtime_checkable
class Mixed(Protocol):
    """A source made of several: it says how much of each a pass over the data takes."""

    def taken(self, items: Mapping[str, int]) -> Mapping[str, int]:
        """How many items of each source a pass takes, of so many that there are."""


@runtime_checkable
class Collection(Protocol):
    """A source whose documents come from a whole collection, most of which its examples don't mention."""

    def collection(self) -> Iterator[Document]:
        """Every document of the collection, read when it is asked for."""


@runtime_checkable
class Noted(Protocol):
    """A source that has something to say of itself in its prepared set's manifest."""

    def notes(self) -> Mapping[str, Any]:
        """Plain values, asked for once the examples are written."""


def content_id(text: str) -> str:
    """An id for a text that has none: its content key in hexadecimal digits."""
    return f"{content_key(text) & 0xFFFFFFFFFFFFFFFF:016x}"


def content_key(text: str) -> int:
    """A signed 64-bit key of a text's content: equal texts have equal keys, whatever their ids."""
    return int.from_bytes(hashlib.blake2b(text.strip().encode(), digest_size=8).digest(), signed=True)
