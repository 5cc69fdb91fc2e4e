"""Approximate search for models of one vector a text, by FAISS (Douze et al. 2024, arXiv:2401.08281).

The corpus is encoded once and kept as float32 vectors. What approximation costs is measured at every search: for a
sample of the queries the exact ranking is computed from the same vectors, and the share of its first ten documents that
the index finds as well is logged and kept in `recall`. Excluded documents are hidden from the index itself, so a query
that excludes thousands still gets its full ranking.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from reasonir.errors import InputError
from reasonir.index.base import excluded_places
from reasonir.model.encoder import ENCODE_TOKENS, Embedder
from reasonir.types import Corpus, Plain, Run, Text

log = logging.getLogger(__name__)
KINDS = ("flat", "ivf", "hnsw")
_SAMPLED, _AT = 100, 10


@dataclass(slots=True)
class Faiss:
    """Ranks by inner product of the vectors.

    Attributes:
        encoder: the model; its head gives one vector a text.
        kind: flat (exact), ivf (only the nearest cells) or hnsw (a graph of neighbours).
        cells: of ivf; None takes four times the square root of the number of documents.
        probes: cells of ivf that are searched.
        neighbours: of a document in hnsw's graph.
        effort: candidates that hnsw keeps while searching.
        tokens: padded tokens of an encoding micro-batch.
    """

    encoder: Embedder
    kind: str = "hnsw"
    cells: int | None = None
    probes: int = 16
    neighbours: int = 32
    effort: int = 256
    tokens: int = ENCODE_TOKENS
    corpus: Corpus = field(init=False)
    recall: float | None = field(init=False, default=None)
    _vectors_ND: np.ndarray = field(init=False)
    _index: Any = field(init=False, default=None)
    neural: ClassVar[bool] = True
    single_vector: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"index.kind={self.kind}: choose one of {', '.join(KINDS)}")

    def build(self, corpus: Corpus) -> None:
        """Encode the corpus and index its vectors.

        Raises:
            InputError: the head gives more than one vector a text.
        """
        self.corpus = corpus
        parts = []
        for _, block in self.encoder.stream(Plain(corpus.texts), "document", budget=self.tokens):
            if bool((block.lengths_N != 1).any()):
                head = type(self.encoder.head).__name__
                raise InputError(f"index=faiss holds one vector a text, {head} gives more: choose index=exact")
            parts.append(block.values_TD.float().cpu().numpy())
        self._vectors_ND = np.concatenate(parts)
        self._index = self._make()
        self._index.add(self._vectors_ND)
        log.info("Indexed %d documents (%s)", len(corpus), self.kind)

    def _make(self) -> Any:
        import faiss

        documents, size = self._vectors_ND.shape
        if self.kind == "flat":
            return faiss.IndexFlatIP(size)
        if self.kind == "hnsw":
            index = faiss.IndexHNSWFlat(size, self.neighbours, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = max(self.effort, 200)
            return index
        cells = min(documents, self.cells or max(1, int(4 * documents**0.5)))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1  # FAISS otherwise warns about small corpora
        index.train(self._vectors_ND)
        return index

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`."""
        excluded = excluded_places(list(queries), self.corpus, exclude)
        encoded = self.encoder.encode(list(queries.values()), "query", budget=self.tokens)
        vectors_QD = encoded.values_TD.float().cpu().numpy()
        k = min(k, len(self.corpus))
        run: Run = {}
        for query_id, vector_D, places in zip(queries, vectors_QD, excluded, strict=True):
            scores_1K, places_1K = self._index.search(vector_D[None], k, params=self._parameters(k, places))
            found = zip(places_1K[0].tolist(), scores_1K[0].tolist(), strict=True)
            run[query_id] = {self.corpus.ids[place]: score for place, score in found if place >= 0}
        self.recall = self._measure(run, vectors_QD, excluded)
        log.info("Of the exact first %d, %s finds %.1f %%", _AT, self.kind, 100 * self.recall)
        return run

    def _parameters(self, k: int, hidden: np.ndarray) -> Any:
        import faiss

        options: dict[str, Any] = {}
        if len(hidden):
            options["sel"] = faiss.IDSelectorNot(faiss.IDSelectorBatch(hidden))
        if self.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=self.probes, **options)
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(self.effort, k), **options)
        return faiss.SearchParameters(**options)

    def _measure(self, run: Run, vectors_QD: np.ndarray, excluded: list[np.ndarray]) -> float:
        """The share of the exact first ten that was found, over the first hundred queries."""
        shares = []
        for query_id, vector_D, places in list(zip(run, vectors_QD, excluded, strict=True))[:_SAMPLED]:
            scores_N = self._vectors_ND @ vector_D
            scores_N[places] = -np.inf
            first = np.argsort(-scores_N, kind="stable")[: min(_AT, len(scores_N) - len(places))]
            found = run[query_id].keys()
            shares.append(float(np.mean([self.corpus.ids[place] in found for place in first])) if len(first) else 1.0)
        return float(np.mean(shares)) if shares else 1.0
