"""Top-k search over blocks of a corpus: exact search, and the reference of approximate indexes.

Memory grows with the queries and their rankings, never with the corpus. Excluded documents are removed before the
cutoff. Recall of an approximate index is the share of the exact top ten documents in its own top ten, over a sample of
at most a hundred evenly spaced queries.

Shape letters: N documents of a block, Q queries, K ranks, C candidates, M excluded documents.
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
        score: returns scores_QN of queries and documents.
        excluded: for each query the sorted corpus positions that it excludes.
        k: documents per query.
    """

    query_ids: Sequence[str]
    queries: Representation
    score: Callable[[Representation, Representation], Tensor]
    excluded: Sequence[np.ndarray]
    k: int
    _best_QK: Tensor = field(init=False)
    _positions_QK: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._best_QK = torch.full((len(self.query_ids), 0), -torch.inf)
        self._positions_QK = torch.zeros((len(self.query_ids), 0), dtype=torch.int64)

    @torch.no_grad()
    def add(self, positions_N: np.ndarray, documents: Representation, unique_N: np.ndarray | None = None) -> None:
        """Add the documents at corpus positions positions_N; unique_N maps each to its row in `documents`."""
        scores_QN = self.score(self.queries, documents).float().cpu()
        if unique_N is not None:
            scores_QN = scores_QN[:, torch.from_numpy(unique_N)]
        for row_N, hidden in zip(scores_QN, self.excluded, strict=True):
            row_N[torch.from_numpy(_inside(positions_N, hidden))] = -torch.inf
        block_QN = torch.from_numpy(positions_N).expand(len(self.query_ids), -1)
        scores_QC, positions_QC = torch.cat([self._best_QK, scores_QN], 1), torch.cat([self._positions_QK, block_QN], 1)
        self._best_QK, order_QK = scores_QC.topk(min(self.k, scores_QC.shape[1]), dim=1)
        self._positions_QK = positions_QC.gather(1, order_QK)

    def run(self, corpus: Corpus) -> Run:
        """Return the rankings."""
        return {
            query_id: {
                corpus.ids[position]: score
                for score, position in zip(best_K.tolist(), positions_K.tolist(), strict=True)
                if score > -torch.inf
            }
            for query_id, best_K, positions_K in zip(self.query_ids, self._best_QK, self._positions_QK, strict=True)
        }


def _inside(positions_N: np.ndarray, hidden_M: np.ndarray) -> np.ndarray:
    """Return the indices in positions_N of hidden positions; hidden_M is sorted."""
    index_N = np.searchsorted(hidden_M, positions_N).clip(max=len(hidden_M) - 1)
    return np.flatnonzero(hidden_M[index_N] == positions_N) if len(hidden_M) else np.empty(0, dtype=np.int64)


def top_above_zero(scores_N: np.ndarray, k: int) -> np.ndarray:
    """Return the positions of the `k` highest scores above 0, ties in corpus order; only those are sorted."""
    positions = np.flatnonzero(scores_N > 0)
    if len(positions) > k:
        least = np.partition(scores_N[positions], -k)[-k]
        positions = positions[scores_N[positions] >= least]
    return positions[np.argsort(-scores_N[positions], kind="stable")[:k]]


def sampled(
    query_ids: Sequence[str],
    queries: Representation,
    score: Callable[[Representation, Representation], Tensor],
    excluded: Sequence[np.ndarray],
) -> TopK:
    """Return exact search for the sample of queries that recall is measured on."""
    size = min(len(query_ids), SAMPLED)
    chosen = [position * len(query_ids) // size for position in range(size)]
    return TopK(
        [query_ids[position] for position in chosen],
        queries.take(torch.tensor(chosen, dtype=torch.int64)),
        score,
        [excluded[position] for position in chosen],
        AT,
    )


def report(name: str, run: Run, exact: Run, *, vectors: int, encoded: int) -> dict[str, float]:
    """Log the recall of an approximate index and return it as `Index.measured`.

    Args:
        name: name of the index.
        run: its rankings.
        exact: rankings of the sampled queries by exact search of all vectors.
        vectors: number of vectors it holds.
        encoded: number of vectors that the model gave.
    """
    share = recall(run, exact)
    counts = f"{vectors} of {encoded} vectors" if vectors < encoded else f"{vectors} vectors"
    log.info("Recall of %s in the exact top %d: %.1f %% (%s)", name, AT, 100 * share, counts)
    return {RECALL: share, "vectors": vectors, "encoded_vectors": encoded}


def recall(run: Run, exact: Run) -> float:
    """Return the mean share of exact rankings in the top ten of `run`; queries without an exact ranking are skipped.

    >>> recall({"a": {"x": 3.0, "y": 2.0}, "b": {}}, {"a": {"y": 1.9, "z": 1.0}, "b": {}})
    0.5
    """
    shares = []
    for query_id, expected in exact.items():
        first = sorted(run[query_id], key=run[query_id].__getitem__, reverse=True)[:AT]
        if expected:
            shares.append(len(expected.keys() & set(first)) / len(expected))
    return fmean(shares) if shares else 1.0
