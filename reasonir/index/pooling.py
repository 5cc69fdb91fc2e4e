"""Pooling of a document's vectors for late interaction, after encoding.

`hierarchical` clusters a document's vectors by Ward's linkage of their cosine distances and keeps each cluster's mean,
normalised (Clavié, Chaffin and Adams 2024, arXiv:2409.14683; the same clusters as PyLate's). The baselines `first` and
`random` drop vectors instead. Pooling by attention isn't offered, since fused attention kernels return no weights, nor
by norm, since vectors are normalised. Queries keep all their vectors.

Shape letters: T vectors of all documents, L vectors of a document, M a selection of them, C clusters, D vector size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge

from reasonir.data.batch import Representation
from reasonir.utils.ranges import NonNegative, Seed, Validated


@dataclass(frozen=True, slots=True)
class Pooling(Validated):
    """Keeps about one vector in `pool_factor`.

    Attributes:
        pool_factor: reduction of the number of vectors; 1 keeps all.
        kind: hierarchical, first or random.
        protected_tokens: first vectors of a document that are kept unchanged.
        seed: seed of random.
    """

    pool_factor: Annotated[float, Ge(1)] = 1.0
    kind: Literal["hierarchical", "first", "random"] = "hierarchical"
    protected_tokens: NonNegative = 1
    seed: Seed = 42

    @property
    def pools(self) -> bool:
        """True if vectors are reduced."""
        return self.pool_factor > 1

    def __call__(self, documents: Representation, *, start: int = 0) -> Representation:
        """Return the documents with fewer vectors, at least one each.

        Args:
            documents: representation of late interaction.
            start: corpus position of the first document, which seeds the random selection.
        """
        if not self.pools:
            return documents
        reduce, parts = _KINDS[self.kind], []
        vectors = documents.values_TD.float().cpu().numpy()
        for position, vectors_LD in enumerate(np.split(vectors, documents.lengths_N.cumsum(0)[:-1].numpy()), start):
            rest_MD = vectors_LD[self.protected_tokens :]
            count = max(1, int(len(rest_MD) // self.pool_factor))
            if count < len(rest_MD):
                rest_MD = reduce(rest_MD, count, np.random.default_rng((self.seed, position)))
            parts.append(np.concatenate([vectors_LD[: self.protected_tokens], rest_MD]))
        values_TD = torch.from_numpy(np.concatenate(parts)).to(documents.values_TD)
        return Representation(values_TD, torch.tensor([len(part) for part in parts]))


def _hierarchical(vectors_LD: np.ndarray, count: int, _: np.random.Generator) -> np.ndarray:
    """Return the normalised means of at most `count` clusters; ties can leave fewer."""
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
