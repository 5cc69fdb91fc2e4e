"""Search of quantised vectors and by a graph, with FAISS, to measure the effect of compression on rankings.

Functions over arrays in memory, without state. Queries are quantised for `binary` only. Vectors are compared by inner
product or, with `euclidean`, by distance.

Shape letters: N documents, Q queries, D vector size, K ranks, B bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_CENTROIDS = 256


class Ranking(NamedTuple):
    """Best documents of each query, best first.

    Attributes:
        scores_QK: scores, higher is better.
        positions_QK: positions of the documents.
    """

    scores_QK: np.ndarray
    positions_QK: np.ndarray


def exact(documents_ND: np.ndarray, queries_QD: np.ndarray, k: int, *, euclidean: bool) -> Ranking:
    """Search the full vectors."""
    import faiss

    return _search(faiss.IndexFlat(documents_ND.shape[1], _metric(euclidean)), documents_ND, queries_QD, k)


def int8(documents_ND: np.ndarray, queries_QD: np.ndarray, k: int, *, euclidean: bool) -> Ranking:
    """Search with one byte per number, each dimension's range divided evenly."""
    import faiss

    index = faiss.IndexScalarQuantizer(documents_ND.shape[1], faiss.ScalarQuantizer.QT_8bit, _metric(euclidean))
    return _search(index, documents_ND, queries_QD, k)


def product_fits(documents: int, size: int, *, codes: int) -> bool:
    """Return whether vectors of `size` numbers can be split into `codes` parts and suffice to train centroids."""
    return size % codes == 0 and documents >= _CENTROIDS


def product(documents_ND: np.ndarray, queries_QD: np.ndarray, k: int, *, codes: int, euclidean: bool) -> Ranking:
    """Search with product quantisation (Jegou et al. 2011): one byte per part, the number of its centroid."""
    import faiss

    index = faiss.IndexPQ(documents_ND.shape[1], codes, 8, _metric(euclidean))
    index.pq.cp.min_points_per_centroid = 1  # FAISS otherwise warns about small corpora
    return _search(index, documents_ND, queries_QD, k)


def binary(documents_ND: np.ndarray, queries_QD: np.ndarray, k: int) -> Ranking:
    """Search by signs, of queries too: the score is minus the number of differing signs."""
    import faiss

    codes_NB, codes_QB = np.packbits(documents_ND > 0, axis=1), np.packbits(queries_QD > 0, axis=1)
    index = faiss.IndexBinaryFlat(8 * codes_NB.shape[1])
    index.add(codes_NB)
    distances_QK, positions_QK = index.search(codes_QB, min(k, len(documents_ND)))
    return Ranking(-distances_QK.astype(np.float32), positions_QK)


def rescored(ranking: Ranking, documents_ND: np.ndarray, queries_QD: np.ndarray) -> Ranking:
    """Return the ranking of `binary`, sorted by the inner product of a query with the documents' signs.

    Needs no document vectors (Yamada et al. 2021, arXiv:2106.00882).
    """
    signs_QKD = np.where(documents_ND[ranking.positions_QK] > 0, np.float32(1), np.float32(-1))
    scores_QK = np.einsum("qkd,qd->qk", signs_QKD, queries_QD)
    order_QK = np.argsort(-scores_QK, axis=1, kind="stable")
    return Ranking(*(np.take_along_axis(x_QK, order_QK, axis=1) for x_QK in (scores_QK, ranking.positions_QK)))


def graph(
    documents_ND: np.ndarray,
    queries_QD: np.ndarray,
    k: int,
    *,
    efforts: Sequence[int],
    euclidean: bool,
    neighbours: int = 32,
) -> dict[int, np.ndarray]:
    """Search HNSW's graph: effort (candidates kept while searching) -> positions_QK, -1 where fewer were reached."""
    import faiss

    index = faiss.IndexHNSWFlat(documents_ND.shape[1], neighbours, _metric(euclidean))
    index.hnsw.efConstruction = 200
    index.add(_floats(documents_ND))
    k, queries_QD = min(k, len(documents_ND)), _floats(queries_QD)
    return {
        effort: index.search(queries_QD, k, params=faiss.SearchParametersHNSW(efSearch=effort))[1] for effort in efforts
    }


def _search(index: Any, documents_ND: np.ndarray, queries_QD: np.ndarray, k: int) -> Ranking:
    import faiss

    documents_ND = _floats(documents_ND)
    index.train(documents_ND)
    index.add(documents_ND)
    scores_QK, positions_QK = index.search(_floats(queries_QD), min(k, len(documents_ND)))
    return Ranking(-scores_QK if index.metric_type == faiss.METRIC_L2 else scores_QK, positions_QK)


def _metric(euclidean: bool) -> int:
    import faiss

    return int(faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT)


def _floats(vectors_ND: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors_ND, dtype=np.float32)
