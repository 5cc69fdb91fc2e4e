"""Exact search with a model: every document is scored for every query, the corpus streamed in blocks.

Documents with equal texts are encoded once and get the same score to the last bit, so that their order is decided by
the rule for ties and not by the batch they happened to be in.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from reasonir.index.base import excluded_places
from reasonir.index.copies import Copies
from reasonir.model.encoder import ENCODE_TOKENS, Embedder
from reasonir.types import Corpus, Plain, Run, Text

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Exact:
    """Ranks by the head's own score. Nothing of the corpus is kept, so memory doesn't grow with it.

    Attributes:
        encoder: the model.
        tokens: padded tokens of an encoding micro-batch.
    """

    encoder: Embedder
    tokens: int = ENCODE_TOKENS
    corpus: Corpus = field(init=False)
    _copies: Copies = field(init=False)
    neural: ClassVar[bool] = True
    single_vector: ClassVar[bool] = False

    def build(self, corpus: Corpus) -> None:
        """Remember the corpus; it is encoded as it is searched."""
        self.corpus = corpus
        self._copies = Copies.of(corpus.texts)

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
        texts = Plain(self._copies.texts)
        for block, representation in self.encoder.stream(texts, "document", budget=self.tokens):
            scores_QU = self.encoder.head.score(query_representation, representation).float().cpu()
            places_N, unique_N = self._copies.places(block)
            scores_QN = scores_QU[:, torch.from_numpy(unique_N)]
            for row_N, hidden in zip(scores_QN, excluded, strict=True):
                row_N[torch.from_numpy(_inside(places_N, hidden))] = -torch.inf
            block_QN = torch.from_numpy(places_N).expand(len(queries), -1)
            best_QK, place_QK = _top(torch.cat([best_QK, scores_QN], 1), torch.cat([place_QK, block_QN], 1), k)
        return {
            query_id: {
                self.corpus.ids[place]: score
                for score, place in zip(best_K.tolist(), place_K.tolist(), strict=True)
                if score > -torch.inf
            }
            for query_id, best_K, place_K in zip(queries, best_QK, place_QK, strict=True)
        }


def _inside(places_N: np.ndarray, hidden_M: np.ndarray) -> np.ndarray:
    """The positions in places_N of those that are hidden; hidden_M is sorted."""
    at_N = np.searchsorted(hidden_M, places_N).clip(max=len(hidden_M) - 1)
    return np.flatnonzero(hidden_M[at_N] == places_N) if len(hidden_M) else np.empty(0, dtype=np.int64)


def _top(scores_QN: torch.Tensor, places_QN: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    best_QK, order_QK = scores_QN.topk(min(k, scores_QN.shape[1]), dim=1)
    return best_QK, places_QN.gather(1, order_QK)
