"""Negatives that share words with the query: BM25's ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from reasonir.index.bm25 import Bm25
from reasonir.types import Corpus, Run, Text


@dataclass(frozen=True, slots=True)
class Bm25Miner:
    """Searches by words.

    Attributes:
        index: BM25 with its options.
    """

    index: Bm25

    @property
    def name(self) -> str:
        """Of the index."""
        return "bm25"

    def identity(self) -> Mapping[str, Any]:
        """The index's options."""
        return {"index": "Bm25", **{f.name: getattr(self.index, f.name) for f in fields(self.index) if f.init}}

    def open(self, corpus: Corpus) -> WordRanker:
        """Count the words of the corpus, in an index of its own."""
        index = replace(self.index)
        index.build(corpus)
        return WordRanker(index, {doc_id: place for place, doc_id in enumerate(corpus.ids)})


@dataclass(frozen=True, slots=True)
class WordRanker:
    """A corpus's words, and where each document stands."""

    index: Bm25
    place: Mapping[str, int]

    def search(self, queries: Mapping[str, Text], k: int) -> Run:
        """See `Ranker.search`."""
        return self.index.search(queries, k)

    def score(self, queries: Mapping[str, Text], documents: Mapping[str, Sequence[str]]) -> Run:
        """See `Ranker.score`; 0 for documents that share no word with the query."""
        scored = self.index.scores([queries[query_id] for query_id in documents])
        return {
            query_id: {doc_id: float(scores_N[self.place[doc_id]]) for doc_id in doc_ids}
            for (query_id, doc_ids), scores_N in zip(documents.items(), scored, strict=True)
        }
