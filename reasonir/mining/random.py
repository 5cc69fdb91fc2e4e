"""Random negatives: documents of the collection drawn for each query, where the data brings none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reasonir.data.base import content_key
from reasonir.types import Corpus, Run, Text
from reasonir.utils.ranges import NonNegative, Validated


@dataclass(frozen=True, slots=True)
class Shuffled(Validated):
    """Ranks documents at random, by the query's text and `seed`."""

    seed: NonNegative = 0

    @property
    def name(self) -> str:
        """See `Searcher.name`."""
        return "random"

    def identity(self) -> Mapping[str, Any]:
        """The seed."""
        return {"index": "random", "seed": self.seed}

    def open(self, corpus: Corpus) -> ShuffledRanker:
        """Take the corpus in."""
        return ShuffledRanker(corpus, self.seed)


@dataclass(frozen=True, slots=True)
class ShuffledRanker:
    """A corpus to draw from."""

    corpus: Corpus
    seed: int

    def search(self, queries: Mapping[str, Text], k: int) -> Run:
        """See `Ranker.search`; scores fall from 1 to 0."""
        most = min(k, len(self.corpus))
        run: Run = {}
        for query_id, query in queries.items():
            draw = np.random.default_rng([self.seed, content_key(query.text) & 0xFFFFFFFF])
            places = draw.choice(len(self.corpus), most, replace=False).tolist()
            run[query_id] = {self.corpus.ids[place]: 1 - rank / most for rank, place in enumerate(places)}
        return run

    def score(self, queries: Mapping[str, Text], documents: Mapping[str, Sequence[str]]) -> Run:
        """See `Ranker.score`; 1 for all, so that no limit on scores keeps a document out."""
        return {query_id: dict.fromkeys(doc_ids, 1.0) for query_id, doc_ids in documents.items()}
