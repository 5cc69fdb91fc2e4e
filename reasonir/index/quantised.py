"""Search of rounded vectors and by a graph, with FAISS: what compression and approximation do to a ranking.

Functions over arrays that are in memory, nothing kept: documents and queries in, the best of each query out. Queries
aren't rounded but for `binary`. Vectors are compared by inner product or, with `euclidean`, by distance.

Shape letters: N documents, Q queries, D vector size, K ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_CENTROIDS = 256


class Found(NamedTuple):
    """For each query the places of the best documents, best first, and their scores, higher is better."""

    scores_QK: np.ndarray
    places_QK: np.ndarray


def exact(documents_ND: np.ndarray, queries_QD: np.ndarray, k: int, *, euclidean: bool) -> Found:
    """By the vectors as they are."""
    import faiss

    return _searched(faiss.IndexFlat(documents_ND.shape[1], _metric(euclidean)), documents_ND, queries_QD, k)


def int8(documents_ND: np.ndarray, queries_QD: np.ndarray, k: int, *, euclidean: bool) -> Found:
    """Every number a byte, each dimension's range divided evenly."""
    import faiss

    index = faiss.IndexScalarQuantizer(documents_ND.shape[1], faiss.ScalarQuantizer.QT_8bit, _metric(euclidean))
    return _searched(index, documents_ND, queries_QD, k)


def product_fits(documents: int, size: int, *, codes: int) -> bool:
    """Whether vectors of `size` numbers can be cut into `codes` parts, and there are enough to find centroids of."""
    return size % codes == 0 and documents >= _CENTROIDS


def product(documents_ND: np.ndarray, queries_QD: np.ndarray, k: int, *, codes: int, euclidean: bool) -> Found:
    """Product quantisation (Jegou et al. 2011): as many parts as `codes`, each a byte that names its centroid."""
    import faiss

    index = faiss.IndexPQ(documents_ND.shape[1], codes, 8, _metric(euclidean))
    index.pq.cp.min_points_per_centroid = 1  # FAISS otherwise warns about small corpora
    return _searched(index, documents_ND, queries_QD, k)


def binary(documents_ND: np.ndarray, queries_QD: np.ndarray, k: int) -> Found:
    """By signs alone, of queries too: the score is minus the number of those that differ."""
    import faiss

    codes_NB, codes_QB = np.packbits(documents_ND > 0, axis=1), np.packbits(queries_QD > 0, axis=1)
    index = faiss.IndexBinaryFlat(8 * codes_NB.shape[1])
    index.add(codes_NB)
    distances_QK, places_QK = index.search(codes_QB, min(k, len(documents_ND)))
    return Found(-distances_QK.astype(np.float32), places_QK)


def rescored(found: Found, documents_ND: np.ndarray, queries_QD: np.ndarray) -> Found:
    """What `binary` found, in the order of the inner product of a query with the documents' signs.

    No document's vector is needed for it (Yamada et al. 2021, arXiv:2106.00882).
    """
    signs_QKD = np.where(documents_ND[found.places_QK] > 0, np.float32(1), np.float32(-1))
    scores_QK = np.einsum("qkd,qd->qk", signs_QKD, queries_QD)
    order_QK = np.argsort(-scores_QK, axis=1, kind="stable")
    return Found(*(np.take_along_axis(each, order_QK, axis=1) for each in (scores_QK, found.places_QK)))


def graph(
    documents_ND: np.ndarray,
    queries_QD: np.ndarray,
    k: int,
    *,
    efforts: Sequence[int],
    euclidean: bool,
    neighbours: int = 32,
) -> dict[int, np.ndarray]:
    """By HNSW's graph of neighbours: effort (candidates kept while searching) -> places_QK, -1 where none was found."""
    import faiss

    index = faiss.IndexHNSWFlat(documents_ND.shape[1], neighbours, _metric(euclidean))
    index.hnsw.efConstruction = 200
    index.add(_floats(documents_ND))
    k, queries_QD = min(k, len(documents_ND)), _floats(queries_QD)
    return {
        effort: index.search(queries_QD, k, params=faiss.SearchParametersHNSW(efSearch=effort))[1] for effort in efforts
    }


def _searched(index: Any, documents_ND: np.ndarray, queries_QD: np.ndarray, k: int) -> Found:
    import faiss

    documents_ND = _floats(documents_ND)
    index.train(documents_ND)
    index.add(documents_ND)
    scores_QK, places_QK = index.search(_floats(queries_QD), min(k, len(documents_ND)))
    return Found(-scores_QK if index.metric_type == faiss.METRIC_L2 else scores_QK, places_QK)


def _metric(euclidean: bool) -> int:
    import faiss

    return int(faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT)


def _floats(vectors_ND: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors_ND, dtype=np.float32)
