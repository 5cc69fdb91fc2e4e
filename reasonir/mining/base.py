"""Protocols of mining, which adds hard negatives to a prepared set, and of its searchers.

A searcher is one file here and one YAML in conf/mining. `Searcher` identifies its rankings without loading anything;
`open` returns the `Ranker`, which holds index and model and is released afterwards.
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
    """Document in a query's ranking, with its rank from 1 and its score."""

    document: Document
    rank: int
    score: float


class Mining(Protocol):
    """Stage between the prepared set and training."""

    def add_negatives(self, prepared: Path, source: Source, home: Path) -> Path:
        """Write the set with mined negatives, the same queries in the same order, and return its folder.

        Args:
            prepared: folder of the prepared set of `source`.
            source: provides its whole collection, if it has one.
            home: folder whose data/ holds the prepared sets.

        Raises:
            InputError: the searcher's model isn't available, or no query got a negative.
        """


class Ranker(Protocol):
    """Search over one corpus."""

    def search(self, queries: Mapping[str, Text], k: int) -> Run:
        """Return the best `k` documents of each query."""

    def score(self, queries: Mapping[str, Text], documents: Mapping[str, Sequence[str]]) -> Run:
        """Return the scores of the documents listed for each query, whatever their ranks."""


class Searcher(Protocol):
    """Search method, identified before anything is loaded."""

    @property
    def name(self) -> str:
        """Short name for folders."""

    def identity(self) -> Mapping[str, Any]:
        """Return everything the rankings depend on besides the corpus, as plain values."""

    def open(self, corpus: Corpus) -> Ranker:
        """Load and index what searching the corpus takes."""
