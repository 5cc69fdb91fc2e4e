"""Lexical hard negatives from BM25's ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reasonir.index.bm25 import Bm25
from reasonir.types import Corpus, Run, Text


@dataclass(frozen=True, slots=True)
class Bm25Miner:
    """BM25 search.

    Attributes:
        index: BM25 with its options.
    """

    index: Bm25

    @property
    def name(self) -> str:
        """See `Searcher.name`."""
        return "bm25"

    def identity(self) -> Mapping[str, Any]:
        """Return the index's settings."""
        return {"index": "Bm25", **self.index.settings}

    def open(self, corpus: Corpus) -> Bm25Ranker:
        """Build a new index of the corpus."""
        index = replace(self.index)
        index.build(corpus)
        return Bm25Ranker(index, {doc_id: number for number, doc_id in enumerate(corpus.ids)})


@dataclass(frozen=True, slots=True)
class Bm25Ranker:
    """BM25 index, and the number of each document by its id."""

    index: Bm25
    numbers: Mapping[str, int]

    def search(self, queries: Mapping[str, Text], k: int) -> Run:
        """See `Ranker.search`."""
        return self.index.search(queries, k)

    def score(self, queries: Mapping[str, Text], documents: Mapping[str, Sequence[str]]) -> Run:
        """See `Ranker.score`; 0 for documents that share no word with the query."""
        scored = self.index.scores([queries[query_id] for query_id in documents])
        return {
            query_id: {doc_id: float(scores_N[self.numbers[doc_id]]) for doc_id in doc_ids}
            for (query_id, doc_ids), scores_N in zip(documents.items(), scored, strict=True)
        }
