"""Approximate search for models with one vector per text, by FAISS (Douze et al. 2024, arXiv:2401.08281).

The corpus is encoded once; FAISS holds its vectors in float32. The loss by approximation is measured at every search
against exact search of the same vectors. Excluded documents are hidden from the index itself, so a query that excludes
thousands still gets its full ranking.

Shape letters: N documents, Q queries, D vector size, K ranks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge

from reasonir.data.batch import Representation
from reasonir.index.base import Form, excluded_positions, incompatibility
from reasonir.index.topk import report, sampled
from reasonir.model.encoder import ENCODE_TOKENS, Embedder
from reasonir.types import Corpus, PlainTexts, Run, Text
from reasonir.utils.ranges import Positive, Validated

log = logging.getLogger(__name__)
_BLOCK = 4096
Kind = Literal["flat", "ivf", "hnsw"]


@dataclass(slots=True)
class VectorIndex:
    """Vectors in a FAISS index, compared by inner product or by distance.

    Attributes:
        kind: see `Faiss`, as for the other options.
        euclidean: compare by squared distance, lower is better.
    """

    kind: Kind
    euclidean: bool = False
    cells: int | None = None
    n_probe: int = 16
    neighbours: int = 32
    effort: int = 256
    _index: Any = field(init=False, default=None)

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def add(self, vectors_ND: np.ndarray) -> None:
        """Append vectors; the cells of ivf are those of the first call's vectors."""
        if self._index is None:
            self._index = self._empty(vectors_ND)
        self._index.add(vectors_ND)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (positions_M, vectors_MD) of all vectors."""
        for start in range(0, len(self), _BLOCK):
            count = min(_BLOCK, len(self) - start)
            yield np.arange(start, start + count), self._index.reconstruct_n(start, count)

    def _empty(self, vectors_ND: np.ndarray) -> Any:
        import faiss

        documents, size = vectors_ND.shape
        metric = faiss.METRIC_L2 if self.euclidean else faiss.METRIC_INNER_PRODUCT
        if self.kind == "flat":
            return faiss.IndexFlat(size, metric)
        if self.kind == "hnsw":
            index = faiss.IndexHNSWFlat(size, self.neighbours, metric)
            index.hnsw.efConstruction = max(self.effort, 200)
            return index
        cells = min(documents, self.cells or max(1, int(4 * documents**0.5)))
        index = faiss.IndexIVFFlat(faiss.IndexFlat(size, metric), size, cells, metric)
        index.cp.min_points_per_centroid = 1  # FAISS otherwise warns about small corpora
        index.train(vectors_ND)
        return index

    def nearest(self, vector_D: np.ndarray, k: int, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scores_M and positions_M of the best vectors that aren't hidden, k of them if there are as many.

        A search that finds fewer is repeated with four times the effort: cells may be small or hidden, and parts of a
        graph out of reach. Beyond every cell and vector, the graph's vectors are compared exactly.
        """
        import faiss

        k, wanted, effort = min(k, len(self)), min(k, len(self) - len(hidden)), 1
        while effort <= 4 * len(self):
            scores_1K, positions_1K = self._index.search(vector_D[None], k, params=self._parameters(k, hidden, effort))
            found_K = positions_1K[0] >= 0
            if found_K.sum() >= wanted:
                return scores_1K[0][found_K], positions_1K[0][found_K]
            effort *= 4
        vectors = faiss.downcast_index(self._index.storage)
        parameters = faiss.SearchParameters(**_allowed(hidden))
        scores_1K, positions_1K = vectors.search(vector_D[None], wanted, params=parameters)
        return scores_1K[0], positions_1K[0]

    def _parameters(self, k: int, hidden: np.ndarray, effort: int) -> Any:
        import faiss

        if self.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=min(self._index.nlist, effort * self.n_probe), **_allowed(hidden))
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=effort * max(self.effort, k), **_allowed(hidden))
        return faiss.SearchParameters(**_allowed(hidden))


def _allowed(hidden: np.ndarray) -> dict[str, Any]:
    """Return the options of a search that skips the hidden vectors."""
    import faiss

    return {"sel": faiss.IDSelectorNot(faiss.IDSelectorBatch(hidden))} if len(hidden) else {}


@dataclass(slots=True)
class Faiss(Validated):
    """Ranks by the inner product of the vectors, or by their distance if the head's scores are distances.

    Attributes:
        encoder: the model; its head gives one vector per text.
        kind: flat (exact), ivf (only the nearest cells) or hnsw (a graph of neighbours).
        cells: cells of ivf; None takes four times the square root of the number of documents.
        n_probe: cells of ivf that are searched, more for a query whose ranking isn't full.
        neighbours: neighbours of a document in hnsw's graph.
        effort: candidates that hnsw keeps while searching.
        tokens: padded tokens of an encoding micro-batch.
    """

    encoder: Embedder
    kind: Kind = "hnsw"
    cells: Positive | None = None
    n_probe: Positive = 16
    neighbours: Annotated[int, Ge(2)] = 32
    effort: Positive = 256
    tokens: Positive = ENCODE_TOKENS
    corpus: Corpus = field(init=False)
    measured: Mapping[str, float] = field(init=False, default_factory=dict)
    _vectors: VectorIndex = field(init=False)
    name: ClassVar[str] = "faiss"
    neural: ClassVar[bool] = True
    form: ClassVar[Form | None] = "one"

    def problems(self) -> Iterable[str]:
        """Yield an incompatibility with the head."""
        if fault := incompatibility(type(self), type(self.encoder.head)):
            yield fault

    def build(self, corpus: Corpus) -> None:
        """Encode the corpus and index its vectors."""
        self.corpus = corpus
        blocks = self.encoder.stream(PlainTexts(corpus.texts), "document", budget=self.tokens)
        self._vectors = VectorIndex(
            self.kind,
            euclidean=self.encoder.head.metric == "euclidean",
            cells=self.cells,
            n_probe=self.n_probe,
            neighbours=self.neighbours,
            effort=self.effort,
        )
        self._vectors.add(np.concatenate([block.values_TD.float().cpu().numpy() for _, block in blocks]))
        log.info("Indexed %d documents (%s)", len(corpus), self.kind)

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`."""
        excluded = excluded_positions(list(queries), self.corpus, exclude)
        encoded = self.encoder.encode(list(queries.values()), "query", budget=self.tokens)
        vectors_QD = encoded.values_TD.float().cpu().numpy()
        run: Run = {}
        for query_id, vector_D, positions in zip(queries, vectors_QD, excluded, strict=True):
            scores_M, positions_M = self._vectors.nearest(vector_D, k, positions)
            if self._vectors.euclidean:  # FAISS gives squared distances
                scores_M = scores_M / (-2 * vectors_QD.shape[1])
            ranked = zip(positions_M.tolist(), scores_M.tolist(), strict=True)
            run[query_id] = {self.corpus.ids[position]: score for position, score in ranked}
        exact = sampled(list(queries), encoded, self.encoder.head.score, excluded)
        for positions_M, vectors_MD in self._vectors.blocks():
            vectors = torch.from_numpy(vectors_MD).to(self.encoder.device)
            exact.add(positions_M, Representation(vectors, torch.ones(len(vectors), dtype=torch.int64)))
        number = len(self.corpus)
        self.measured = report(self.kind, run, exact.run(self.corpus), vectors=number, encoded=number)
        return run
