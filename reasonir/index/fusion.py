"""Fusion of two rankings: the model's, and that of a partner, BM25 or another model.

Scores are scaled within each query's ranking (`minmax`: BGE-Reasoner takes .75 of the model's and .25 of BM25's), or
replaced by `1 / (60 + rank)`, reciprocal rank fusion (Cormack et al. 2009, SIGIR). A document that one of the rankings
lacks gets that ranking's least scaled score, in reciprocal rank fusion 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import ClassVar, Literal

from reasonir.errors import InputError
from reasonir.index.base import Form, Index
from reasonir.index.bm25 import Bm25
from reasonir.model.backbone import Model
from reasonir.model.caching_encoder import CachingEncoder
from reasonir.model.encoder import Embedder
from reasonir.types import Corpus, Run, Text
from reasonir.utils.ranges import Positive, Share, Validated

Method = Literal["minmax", "zscore", "rrf"]
_RRF = 60


def fuse(first: Run, second: Run, *, weight: float, method: Method = "minmax") -> Run:
    """Return the fused rankings: `weight` times the first's scaled scores plus the rest times the second's.

    >>> fuse({"q": {"a": 9.0, "b": 5.0}}, {"q": {"b": 1.0, "c": 0.0}}, weight=0.75)
    {'q': {'a': 0.75, 'b': 0.25, 'c': 0.0}}
    """
    fused: Run = {}
    for query_id in first | second:
        one, other = (_scaled(run.get(query_id, {}), method) for run in (first, second))
        least = [0.0 if method == "rrf" else min(scaled.values(), default=0.0) for scaled in (one, other)]
        fused[query_id] = {
            doc_id: weight * one.get(doc_id, least[0]) + (1 - weight) * other.get(doc_id, least[1])
            for doc_id in one | other
        }
    return fused


def _scaled(ranking: Mapping[str, float], method: Method) -> dict[str, float]:
    if method == "rrf":
        return {doc_id: 1 / (_RRF + rank) for rank, doc_id in enumerate(_ranked(ranking), 1)}
    if not ranking:
        return {}
    scores = ranking.values()
    if method == "zscore":
        middle, spread = fmean(scores), pstdev(scores)
    else:
        middle, spread = min(scores), max(scores) - min(scores)
    return {doc_id: (score - middle) / spread if spread else 0.0 for doc_id, score in ranking.items()}


@dataclass(slots=True)
class Fusion(Validated):
    """Ranks by both.

    Attributes:
        encoder: the model.
        own: makes the index of the model.
        partner: BM25, or makes the index of `partner_model`.
        partner_model: another model; None where the partner searches words.
        method: how scores are made comparable.
        weight: share of the model's ranking, the rest is the partner's; None until development queries have chosen it.
        depth: documents of each ranking that are fused.
        parts: the rankings of the last search, the model's and the partner's.
    """

    encoder: Embedder
    own: Callable[[Embedder], Index]
    partner: Bm25 | Callable[[Embedder], Index] = field(default_factory=Bm25)
    partner_model: Model | None = None
    method: Method = "minmax"
    weight: Share | None = 0.75
    depth: Positive = 1000
    parts: tuple[Run, Run] = field(init=False, default=({}, {}))
    measured: Mapping[str, float] = field(init=False, default_factory=dict)
    model_index: Index = field(init=False)
    _partner_index: Index = field(init=False)
    name: ClassVar[str] = "fusion"
    neural: ClassVar[bool] = True
    form: ClassVar[Form | None] = None

    def problems(self) -> Iterable[str]:
        """A partner without its model, or a model that nothing searches with."""
        fault = partner_fault(neural=not isinstance(self.partner, Bm25), model=self.partner_model is not None)
        if fault:
            yield fault
        elif self.partner_model is not None and self.partner_model.reads_pairs:
            yield "partner_model has a head that reads pairs: choose a retriever, or index=exact and eval=pipeline"

    def __post_init__(self) -> None:
        Validated.__post_init__(self)
        self.model_index = self.own(self.encoder)
        if isinstance(self.partner, Bm25):
            self._partner_index = self.partner
        elif self.partner_model is not None:
            partner = self.partner_model.load().to(self.encoder.device)
            self._partner_index = self.partner(CachingEncoder(partner))

    def build(self, corpus: Corpus) -> None:
        """Index a corpus for both."""
        self.model_index.build(corpus)
        self._partner_index.build(corpus)

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`.

        Raises:
            InputError: no weight was given or chosen.
        """
        if self.weight is None:
            raise InputError("index.weight=null: only evaluations choose it, on development queries: set a weight")
        depth = max(k, self.depth)
        first = self.model_index.search(queries, depth, exclude=exclude)
        second = self._partner_index.search(queries, depth, exclude=exclude)
        self.parts, self.measured = (first, second), self.model_index.measured
        fused = fuse(first, second, weight=self.weight, method=self.method)
        return {
            query_id: {doc_id: ranking[doc_id] for doc_id in _ranked(ranking)[:k]}
            for query_id, ranking in fused.items()
        }


def partner_fault(*, neural: bool, model: bool) -> str | None:
    """Return why a fusion's partner can't search, given whether it searches vectors and has a model; None if it can."""
    if neural and not model:
        return "partner_model=null: name the partner's model, +model@index.partner_model=minilm"
    if model and not neural:
        return "partner_model is given and the partner searches words: choose index@index.partner=exact"
    return None


def _ranked(ranking: Mapping[str, float]) -> list[str]:
    """Return the documents, best first, ties by id as in trec_eval."""
    return sorted(ranking, key=lambda doc_id: (ranking[doc_id], doc_id), reverse=True)
