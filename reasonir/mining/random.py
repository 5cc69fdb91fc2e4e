"""Random negatives: documents of the collection drawn for each query, for data without negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reasonir.data.base import content_key
from reasonir.types import Corpus, Run, Text
from reasonir.utils.ranges import Seed, Validated


@dataclass(frozen=True, slots=True)
class Shuffled(Validated):
    """Random rankings, determined by the query's text and `seed`."""

    seed: Seed = 0

    @property
    def name(self) -> str:
        """See `Searcher.name`."""
        return "random"

    def identity(self) -> Mapping[str, Any]:
        """Return the seed."""
        return {"index": "random", "seed": self.seed}

    def open(self, corpus: Corpus) -> ShuffledRanker:
        """See `Searcher.open`."""
        return ShuffledRanker(corpus, self.seed)


@dataclass(frozen=True, slots=True)
class ShuffledRanker:
    """Random ranking of a corpus."""

    corpus: Corpus
    seed: int

    def search(self, queries: Mapping[str, Text], k: int) -> Run:
        """See `Ranker.search`; scores fall from 1 to 0."""
        count = min(k, len(self.corpus))
        run: Run = {}
        for query_id, query in queries.items():
            draw = np.random.default_rng([self.seed, content_key(query.text) & 0xFFFFFFFF])
            numbers = draw.choice(len(self.corpus), count, replace=False).tolist()
            run[query_id] = {self.corpus.ids[number]: 1 - rank / count for rank, number in enumerate(numbers)}
        return run

    def score(self, queries: Mapping[str, Text], documents: Mapping[str, Sequence[str]]) -> Run:
        """See `Ranker.score`; 1 for all, so that no score limit removes a document."""
        return {query_id: dict.fromkeys(doc_ids, 1.0) for query_id, doc_ids in documents.items()}
