"""Vector-space metrics of a retriever's single vectors, and whitening, the training-free baseline for isotropy.

Directions (cosines, uniformity, alignment, centroids) are of vectors normalised to length 1, for every head. Metrics
over pairs of documents and their neighbours use a sample of them; SIGReg, whose value grows with the number of vectors
unless they are Gaussian, at most `SIGREG_TEXTS` per side.

Shape letters: N documents, M a selection of N, Q queries, P relevant pairs, D vector size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reasonir.loss.sigreg import FLOOR, Sigreg

SAMPLE, SIGREG_TEXTS, NEIGHBOURS = 4096, 1024, 10
_BLOCK = 512
_LEAST_SHARE = 1e-6
"""Share of the largest variance below which a direction is rounding error, which whitening would amplify."""


@dataclass(frozen=True, slots=True)
class Space:
    """Vectors of a collection in float32, with its relevant pairs.

    Attributes:
        documents_ND: document vectors.
        queries_QD: query vectors.
        query_P: index of each relevant pair's query.
        document_P: index of each relevant pair's document.
        euclidean: True if vectors of any length are compared by distance; otherwise they have length 1.
    """

    documents_ND: Tensor
    queries_QD: Tensor
    query_P: Tensor
    document_P: Tensor
    euclidean: bool

    def whitened(self) -> Space:
        """Whiten both sides by the documents' principal axes, and normalise (Su et al. 2021, arXiv:2103.15316).

        The length is 1, or sqrt(D) if vectors are compared by distance. Axes are in descending order of variance.
        """
        values_ND = self.documents_ND.double()
        mean_D = values_ND.mean(0)
        variance_D, axes_DD = torch.linalg.eigh(torch.cov(values_ND.T))
        variance_D, axes_DD = variance_D.flip(0), axes_DD.flip(1)
        kept_D = variance_D > _LEAST_SHARE * variance_D[0]
        turn_DD = axes_DD * torch.where(kept_D, variance_D.clamp(min=1e-300).rsqrt(), 0.0)
        length = len(mean_D) ** 0.5 if self.euclidean else 1.0
        documents_ND, queries_QD = (
            length * normalize((side.double() - mean_D) @ turn_DD, dim=-1).float()
            for side in (self.documents_ND, self.queries_QD)
        )
        return replace(self, documents_ND=documents_ND, queries_QD=queries_QD)

    def prefix(self, size: int) -> Space:
        """Truncate every vector to its first `size` dimensions, normalised to length 1 unless `euclidean`."""
        documents_ND, queries_QD = (
            side[:, :size] if self.euclidean else normalize(side[:, :size], dim=-1)
            for side in (self.documents_ND, self.queries_QD)
        )
        return replace(self, documents_ND=documents_ND, queries_QD=queries_QD)

    def sample(self, count: int) -> Tensor:
        """Return at most `count` of the documents as vectors_MD, always the same ones."""
        order_N = torch.randperm(len(self.documents_ND), generator=torch.Generator().manual_seed(0))
        return self.documents_ND[order_N[:count].sort().values]


def figures(space: Space) -> dict[str, float]:
    """Return all vector-space metrics."""
    return {
        **_spectrum(space.documents_ND),
        **_directions(space),
        **_gaussianity(space),
        "hubness_skew": skew(occurrences(space.sample(SAMPLE), NEIGHBOURS, euclidean=space.euclidean)),
    }


def _spectrum(documents_ND: Tensor) -> dict[str, float]:
    """Return the covariance's effective rank (Roy and Vetterli 2007) and the share of its largest eigenvalue."""
    share_D = torch.linalg.eigvalsh(torch.cov(documents_ND.double().T)).clamp(min=0)
    share_D = share_D / share_D.sum()
    return {
        "effective_rank": float(torch.special.entr(share_D).sum().exp()),
        "top_eigenvalue_share": float(share_D.max()),
    }


def _directions(space: Space) -> dict[str, float]:
    """Return metrics of unit vectors; uniformity and alignment as in Wang and Isola 2020."""
    sample_ND = normalize(space.sample(SAMPLE), dim=-1).double()
    count = len(sample_ND)
    cosines, kernels = -float(count), -float(count)  # leaves out each text with itself
    for block_MD in torch.split(sample_ND, _BLOCK):
        cosines_MN = block_MD @ sample_ND.T
        cosines += float(cosines_MN.sum())
        kernels += float((4 * cosines_MN - 4).exp().sum())  # exp(-2 |x - y|^2)
    pairs = count * (count - 1)
    documents_ND, queries_QD = (normalize(side, dim=-1).double() for side in (space.documents_ND, space.queries_QD))
    distance_P = (queries_QD[space.query_P] - documents_ND[space.document_P]).square().sum(1)
    norms_N = space.documents_ND.double().norm(dim=1)
    return {
        "mean_cosine": cosines / pairs,
        "uniformity": float(torch.tensor(kernels / pairs).log()),
        "alignment": float(distance_P.mean()),
        "centroid_gap": float((queries_QD.mean(0) - documents_ND.mean(0)).norm()),
        "norm_variation": float(norms_N.std() / norms_N.mean()),
    }


def _gaussianity(space: Space) -> dict[str, float]:
    """Return SIGReg over its floor: 1 for a Gaussian sample. Vectors of length 1 are scaled by sqrt(D) first."""
    scale = 1.0 if space.euclidean else space.documents_ND.shape[1] ** 0.5
    statistic = Sigreg(slices=1024).statistic
    return {
        "sigreg_queries": float(statistic(scale * space.queries_QD[:SIGREG_TEXTS], 0)) / FLOOR,
        "sigreg_documents": float(statistic(scale * space.sample(SIGREG_TEXTS), 0)) / FLOOR,
    }


def occurrences(vectors_ND: Tensor, k: int, *, euclidean: bool) -> Tensor:
    """Return count_N: for how many other vectors each is among the k nearest (Radovanovic et al. 2010)."""
    k = min(k, len(vectors_ND) - 1)
    counts_N = torch.zeros(len(vectors_ND), dtype=torch.int64)
    for start in range(0, len(vectors_ND), _BLOCK):
        block_MD = vectors_ND[start : start + _BLOCK]
        near_MN = -torch.cdist(block_MD, vectors_ND) if euclidean else block_MD @ vectors_ND.T
        near_MN[torch.arange(len(block_MD)), start + torch.arange(len(block_MD))] = -torch.inf
        counts_N += near_MN.topk(k, dim=1).indices.flatten().bincount(minlength=len(vectors_ND))
    return counts_N


def skew(counts_N: Tensor) -> float:
    """Return the third standardised moment, 0 if all counts are equal."""
    centred_N = counts_N.double() - counts_N.double().mean()
    width = float(centred_N.square().mean().sqrt())
    return float(centred_N.pow(3).mean()) / width**3 if width else 0.0
