"""What mining is: it takes a prepared set and gives one with hard negatives. And what it searches with.

A way of searching is one file here and one YAML in conf/mining. A `Searcher` is a recipe that knows what its rankings
depend on without loading anything; `open` gives the `Ranker`, which holds indexes and models and is let go afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from reasonir.data.base import Source
from reasonir.types import Corpus, Document, Run, Text


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document of a query's ranking: its rank from 1, and its score."""

    document: Document
    rank: int
    score: float


class Mining(Protocol):
    """A stage between the prepared set and training."""

    def add_negatives(self, own: Path, source: Source, home: Path) -> Path:
        """The folder of the set with mined negatives: the same queries in the same order.

        Args:
            own: the prepared set of `source`.
            source: asked for its whole collection, where it has one.
            home: prepared sets lie in data/ under it.

        Raises:
            InputError: what the search needs isn't there.
        """


class Ranker(Protocol):
    """Ranks one corpus."""

    def search(self, queries: Mapping[str, Text], k: int) -> Run:
        """The best `k` documents of each query."""

    def score(self, queries: Mapping[str, Text], documents: Mapping[str, Sequence[str]]) -> Run:
        """The scores of the documents named for each query, however far down its ranking they are."""


class Searcher(Protocol):
    """How documents are found and scored."""

    @property
    def name(self) -> str:
        """A short name for folders."""

    def identity(self) -> Mapping[str, Any]:
        """Everything the rankings depend on besides the corpus, as plain values."""

    def open(self, corpus: Corpus) -> Ranker:
        """Take the corpus in."""
