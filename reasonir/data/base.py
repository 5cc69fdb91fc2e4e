"""Protocols of data sources, which yield examples: one file each here, one YAML each in conf/data."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

from reasonir.data.files.row_stream import RowStream
from reasonir.types import Document, Example, Task
from reasonir.utils.scripts import UNSPACED

_IDLE_SPACE = re.compile(rf"(?<![^\W{UNSPACED}]) | (?![^\W{UNSPACED}])")


@dataclass(frozen=True, slots=True)
class Rejected:
    """Part of a source that isn't used: the kind of reason, its location and its content."""

    kind: str
    location: str
    detail: str


class Source(Protocol):
    """Source of training data."""

    @property
    def name(self) -> str:
        """Short name for folders and tables."""

    def identity(self) -> Mapping[str, Any]:
        """Return everything the examples depend on, as plain values: equal identities mean equal examples."""

    def examples(self) -> Iterator[Example | Rejected]:
        """Yield the examples in a fixed order, each with a query, an id and at least one document.

        Examples without a positive train heads that read pairs; retrievers skip them. Rejected parts are yielded in
        between and listed in the prepared set's report.

        Raises:
            InputError: a row can't be used; names file, row, value and remedy.
        """

    def dev(self) -> Task | None:
        """Return the source's own development task; None holds out part of the examples instead."""


@runtime_checkable
class Published(Protocol):
    """Source whose number of rows is known before it can be read, for plans."""

    @property
    def published_rows(self) -> int:
        """Number of rows, as its publisher states it."""


@runtime_checkable
class Tested(Protocol):
    """Source with test queries, which `eval=test_split` evaluates on."""

    def tests(self) -> Iterator[Task]:
        """Yield tasks whose queries and relevant documents don't occur in the examples."""


class HeldOut(Protocol):
    """Training data with test queries, either of its source or held out of its rows."""

    @property
    def data_name(self) -> str:
        """Short name for tables."""

    def tests(self) -> Sequence[Task]:
        """Return tasks whose queries and relevant documents aren't trained on."""

    def test_examples(self) -> Sequence[Example]:
        """Return the held-out rows as examples; empty if the source has its own test queries."""


@runtime_checkable
class Streamed(Protocol):
    """Source that can be read row by row: if `stream`, its examples are those of the first `buffer` rows."""

    stream: bool
    buffer: int

    @property
    def name(self) -> str:
        """Short name for messages."""

    def rows(self, seed: int, epoch: int) -> RowStream:
        """Return the rows of an epoch, its files in the order of the epoch."""

    def example(self, values: Mapping[str, Any], number: int, *, cells: bool) -> Example | Rejected:
        """Return the example of a row.

        Raises:
            InputError: the row can't be used.
        """


def is_streamed(source: object) -> TypeGuard[Streamed]:
    """Return whether training reads a source as a stream."""
    return isinstance(source, Streamed) and source.stream


@runtime_checkable
class Mixed(Protocol):
    """Source made of several, which sets how many items of each an epoch takes."""

    def taken(self, items: Mapping[str, int]) -> Mapping[str, int]:
        """Return how many items of each source an epoch takes, given how many each has."""


@runtime_checkable
class Collection(Protocol):
    """Source with a whole collection of documents, including those its examples don't mention."""

    def collection(self) -> Iterator[Document]:
        """Yield every document of the collection."""


@runtime_checkable
class HasNotes(Protocol):
    """Source with notes for its prepared set's manifest."""

    def notes(self) -> Mapping[str, Any]:
        """Return plain values; called after the examples are written."""


def content_id(text: str) -> str:
    """Return an id for a text without one: its content key in hexadecimal digits."""
    return f"{content_key(text) & 0xFFFFFFFFFFFFFFFF:016x}"


def content_key(text: str, instruction: str = "") -> int:
    """Return a signed 64-bit key of a text's content: equal texts have equal keys, whatever their ids.

    Under another instruction a text is another item, with another key.
    """
    content = f"{instruction.strip()}\0{text.strip()}" if instruction.strip() else text.strip()
    return bytes_key(content.encode())


def bytes_key(content: bytes) -> int:
    """Return a signed 64-bit key of bytes."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), signed=True)


def copy_key(text: str, instruction: str = "") -> int:
    """Return a signed 64-bit key that a text shares with its copies, which differ in case and idle white space only.

    An uncased tokenizer reads copies alike: to it, white space is one separator of two words, and none beside
    punctuation or in scripts without spaces. So a copy of a relevant document is no negative, and not another document
    when splits are held out.
    """
    return content_key(_IDLE_SPACE.sub("", " ".join(text.casefold().split())), instruction)
