"""The best documents of each query, the corpus given block by block: exact search, and what others are held against.

Memory grows with the queries and their rankings, never with the corpus. Excluded documents lose before the cut.
Recall of an approximate index is the share of the exact first ten documents that are among its own first ten, over a
sample of at most a hundred queries spread evenly over all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.types import Corpus, Run

log = logging.getLogger(__name__)
SAMPLED, AT = 100, 10
RECALL = f"recall_at_{AT}"


@dataclass(slots=True)
class TopK:
    """The best `k` of all documents that were added, for each query.

    Attributes:
        query_ids: the queries.
        queries: their representation.
        score: scores_QN of queries and documents.
        excluded: for each query the sorted corpus positions that it excludes.
        k: documents a query.
    """

    query_ids: Sequence[str]
    queries: Representation
    score: Callable[[Representation, Representation], Tensor]
    excluded: Sequence[np.ndarray]
    k: int
    _best_QK: Tensor = field(init=False)
    _place_QK: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._best_QK = torch.full((len(self.query_ids), 0), -torch.inf)
        self._place_QK = torch.zeros((len(self.query_ids), 0), dtype=torch.int64)

    @torch.no_grad()
    def add(self, places_N: np.ndarray, documents: Representation, unique_N: np.ndarray | None = None) -> None:
        """Take in the documents at the corpus positions places_N; unique_N says which text stands at each of them."""
        scores_QN = self.score(self.queries, documents).float().cpu()
        if unique_N is not None:
            scores_QN = scores_QN[:, torch.from_numpy(unique_N)]
        for row_N, hidden in zip(scores_QN, self.excluded, strict=True):
            row_N[torch.from_numpy(_inside(places_N, hidden))] = -torch.inf
        block_QN = torch.from_numpy(places_N).expand(len(self.query_ids), -1)
        scores_QM, places_QM = torch.cat([self._best_QK, scores_QN], 1), torch.cat([self._place_QK, block_QN], 1)
        self._best_QK, order_QK = scores_QM.topk(min(self.k, scores_QM.shape[1]), dim=1)
        self._place_QK = places_QM.gather(1, order_QK)

    def run(self, corpus: Corpus) -> Run:
        """The rankings."""
        return {
            query_id: {
                corpus.ids[place]: score
                for score, place in zip(best_K.tolist(), place_K.tolist(), strict=True)
                if score > -torch.inf
            }
            for query_id, best_K, place_K in zip(self.query_ids, self._best_QK, self._place_QK, strict=True)
        }


def _inside(places_N: np.ndarray, hidden_M: np.ndarray) -> np.ndarray:
    """The positions in places_N of those that are hidden; hidden_M is sorted."""
    at_N = np.searchsorted(hidden_M, places_N).clip(max=len(hidden_M) - 1)
    return np.flatnonzero(hidden_M[at_N] == places_N) if len(hidden_M) else np.empty(0, dtype=np.int64)


def sampled(
    query_ids: Sequence[str],
    queries: Representation,
    score: Callable[[Representation, Representation], Tensor],
    excluded: Sequence[np.ndarray],
) -> TopK:
    """Exact search for the sample of queries that recall is measured on."""
    size = min(len(query_ids), SAMPLED)
    chosen = [place * len(query_ids) // size for place in range(size)]
    return TopK(
        [query_ids[place] for place in chosen],
        queries.take(torch.tensor(chosen, dtype=torch.int64)),
        score,
        [excluded[place] for place in chosen],
        AT,
    )


def report(name: str, found: Run, exact: Run, *, vectors: int, encoded: int) -> dict[str, float]:
    """What an approximate index measured: logged, and as `Index.measured` has it.

    Args:
        name: what ranked.
        found: its rankings.
        exact: those of the sampled queries by exact search of all vectors.
        vectors: how many it holds.
        encoded: how many the model gave.
    """
    share = recall(found, exact)
    held = f"{vectors} of {encoded} vectors" if vectors < encoded else f"{vectors} vectors"
    log.info("Of the exact first %d, %s finds %.1f %% (%s)", AT, name, 100 * share, held)
    return {RECALL: share, "vectors": vectors, "encoded_vectors": encoded}


def recall(found: Run, exact: Run) -> float:
    """The mean share of an exact ranking that is among the first ten found; queries with nothing to find don't count.

    >>> recall({"a": {"x": 3.0, "y": 2.0}, "b": {}}, {"a": {"y": 1.9, "z": 1.0}, "b": {}})
    0.5
    """
    shares = []
    for query_id, expected in exact.items():
        first = sorted(found[query_id], key=found[query_id].__getitem__, reverse=True)[:AT]
        if expected:
            shares.append(len(expected.keys() & set(first)) / len(expected))
    return fmean(shares) if shares else 1.0
