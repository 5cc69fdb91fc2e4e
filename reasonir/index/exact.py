"""Exact search with a model: every document is scored for every query, the corpus streamed in blocks.

Documents with equal texts are encoded once and get the same score bit for bit, so that their order is decided by the
rule for ties and not by their batch. Late interaction's documents may be pooled to fewer vectors; those are still
searched exactly, and the loss by pooling is measured in the same pass against the search of all vectors.

Shape letter: N documents of a block.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from reasonir.index.base import Form, excluded_positions, incompatibility
from reasonir.index.dedup import Duplicates
from reasonir.index.pooling import Pooling
from reasonir.index.topk import TopK, report, sampled
from reasonir.model.encoder import ENCODE_TOKENS, Embedder
from reasonir.model.sparse import Sparsity
from reasonir.types import Corpus, PlainTexts, Run, Text
from reasonir.utils.ranges import Positive, Validated

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Exact(Validated):
    """Ranks by the head's own score; memory doesn't grow with the corpus.

    Attributes:
        encoder: the model.
        pooling: reduces the vectors of a document.
        tokens: padded tokens of an encoding micro-batch.
    """

    encoder: Embedder
    pooling: Pooling = field(default_factory=Pooling)
    tokens: Positive = ENCODE_TOKENS
    corpus: Corpus = field(init=False)
    measured: Mapping[str, float] = field(init=False, default_factory=dict)
    _distinct: Duplicates = field(init=False)
    name: ClassVar[str] = "exact"
    neural: ClassVar[bool] = True
    form: ClassVar[Form | None] = None

    def problems(self) -> Iterable[str]:
        """Yield an incompatibility with the head."""
        if fault := incompatibility(type(self), type(self.encoder.head), self.pooling.pool_factor):
            yield fault

    def build(self, corpus: Corpus) -> None:
        """Store the corpus; it is encoded at search time."""
        self.corpus = corpus
        self._distinct = Duplicates.of(corpus.texts)

    @torch.no_grad()
    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`."""
        log.info("Searching %d documents for %d queries", len(self.corpus), len(queries))
        ids, score = list(queries), self.encoder.head.score
        excluded = excluded_positions(ids, self.corpus, exclude)
        encoded = self.encoder.encode(list(queries.values()), "query", budget=self.tokens)
        best, unpooled = TopK(ids, encoded, score, excluded, k), sampled(ids, encoded, score, excluded)
        sparsity = Sparsity.of(self.encoder.head)
        before = after = 0
        for block, representation in self.encoder.stream(
            PlainTexts(self._distinct.texts), "document", budget=self.tokens
        ):
            pooled = self.pooling(representation, start=block.start)
            positions_N, unique_N = self._distinct.positions(np.arange(block.start, block.stop))
            best.add(positions_N, pooled, unique_N)
            before, after = before + len(representation.values_TD), after + len(pooled.values_TD)
            if sparsity:
                sparsity.add(representation)
            if self.pooling.pools:
                unpooled.add(positions_N, representation, unique_N)
        run = best.run(self.corpus)
        if self.pooling.pools:
            self.measured = report("pooling", run, unpooled.run(self.corpus), vectors=after, encoded=before)
        elif sparsity:
            self.measured = sparsity.report(encoded)
        return run
