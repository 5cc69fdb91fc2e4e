"""Fewer vectors a document for late interaction: vectors pooled or left out after encoding.

`hierarchical` clusters a document's vectors by Ward's linkage of their cosine distances and keeps each cluster's mean,
normalised (Clavié, Chaffin and Adams 2024, arXiv:2409.14683; the same clusters as PyLate's). `first` and `random` leave
vectors out instead: what pooling has to beat. Attention isn't offered, since fused attention kernels don't give any
weights, nor the norm, since vectors are normalised. Queries keep all their vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge

from reasonir.data.batch import Representation
from reasonir.utils.ranges import NonNegative, Validated


@dataclass(frozen=True, slots=True)
class Pooling(Validated):
    """Keeps about one vector in `factor`.

    Attributes:
        factor: how many times fewer vectors; 1 keeps all.
        kind: hierarchical, first or random.
        protected: first vectors of a document that are kept as they are.
        seed: of random.
    """

    pool_factor: Annotated[float, Ge(1)] = 1.0
    kind: Literal["hierarchical", "first", "random"] = "hierarchical"
    protected_tokens: NonNegative = 1
    seed: NonNegative = 42

    @property
    def pools(self) -> bool:
        """Whether it does anything."""
        return self.pool_factor > 1

    def __call__(self, documents: Representation, *, start: int = 0) -> Representation:
        """The same documents with fewer vectors, each at least one.

        Args:
            documents: late interaction's representation.
            start: the first one's position in the corpus: what is random depends on the position alone.
        """
        if not self.pools:
            return documents
        reduce, parts = _KINDS[self.kind], []
        vectors = documents.values_TD.float().cpu().numpy()
        for place, one_LD in enumerate(np.split(vectors, documents.lengths_N.cumsum(0)[:-1].numpy()), start):
            rest_MD = one_LD[self.protected_tokens :]
            count = max(1, int(len(rest_MD) // self.pool_factor))
            if count < len(rest_MD):
                rest_MD = reduce(rest_MD, count, np.random.default_rng((self.seed, place)))
            parts.append(np.concatenate([one_LD[: self.protected_tokens], rest_MD]))
        values_TD = torch.from_numpy(np.concatenate(parts)).to(documents.values_TD)
        return Representation(values_TD, torch.tensor([len(part) for part in parts]))


def _hierarchical(vectors_LD: np.ndarray, count: int, _: np.random.Generator) -> np.ndarray:
    """The normalised means of at most `count` clusters; ties can leave fewer."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distances = squareform(np.maximum(1 - vectors_LD @ vectors_LD.T, 0), checks=False)
    cluster_L = fcluster(linkage(distances, method="ward"), count, criterion="maxclust")
    inside_CL = np.arange(1, cluster_L.max() + 1)[:, None] == cluster_L
    means_CD = inside_CL.astype(np.float32) @ vectors_LD
    return np.asarray(means_CD / np.linalg.norm(means_CD, axis=1, keepdims=True))


def _first(vectors_LD: np.ndarray, count: int, _: np.random.Generator) -> np.ndarray:
    return vectors_LD[:count]


def _random(vectors_LD: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    return vectors_LD[np.sort(draw.choice(len(vectors_LD), count, replace=False))]


_KINDS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "hierarchical": _hierarchical,
    "first": _first,
    "random": _random,
}
