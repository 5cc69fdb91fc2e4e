"""Exact search with a model: every document is scored for every query, the corpus streamed in blocks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from reasonir.index.base import excluded_places
from reasonir.model.encoder import ENCODE_TOKENS, Encoder
from reasonir.types import Corpus, Run, Text

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Exact:
    """Ranks by the head's own score. Nothing of the corpus is kept, so memory doesn't grow with it.

    Attributes:
        encoder: the model.
        tokens: padded tokens of an encoding micro-batch.
    """

    encoder: Encoder
    tokens: int = ENCODE_TOKENS
    corpus: Corpus = field(init=False)
    neural: ClassVar[bool] = True
    single_vector: ClassVar[bool] = False

    def build(self, corpus: Corpus) -> None:
        """Remember the corpus; it is encoded as it is searched."""
        self.corpus = corpus

    @torch.no_grad()
    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`."""
        log.info("Searching %d documents for %d queries", len(self.corpus), len(queries))
        excluded = excluded_places(list(queries), self.corpus, exclude)
        query_representation = self.encoder.encode(list(queries.values()), "query", budget=self.tokens)
        best_QK = torch.full((len(queries), 0), -torch.inf)
        place_QK = torch.zeros((len(queries), 0), dtype=torch.int64)
        texts = [Text(text) for text in self.corpus.texts]
        for block, representation in self.encoder.stream(texts, "document", budget=self.tokens):
            scores_QN = self.encoder.head.score(query_representation, representation).float().cpu()
            for row_N, places in zip(scores_QN, excluded, strict=True):
                inside = places[np.searchsorted(places, block.start) : np.searchsorted(places, block.stop)]
                row_N[torch.from_numpy(inside - block.start)] = -torch.inf
            block_N = torch.arange(block.start, block.stop).expand(len(queries), -1)
            best_QK, place_QK = _top(torch.cat([best_QK, scores_QN], 1), torch.cat([place_QK, block_N], 1), k)
        return {
            query_id: {
                self.corpus.ids[place]: score
                for score, place in zip(best_K.tolist(), place_K.tolist(), strict=True)
                if score > -torch.inf
            }
            for query_id, best_K, place_K in zip(queries, best_QK, place_QK, strict=True)
        }


def _top(scores_QN: torch.Tensor, places_QN: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    best_QK, order_QK = scores_QN.topk(min(k, scores_QN.shape[1]), dim=1)
    return best_QK, places_QN.gather(1, order_QK)
