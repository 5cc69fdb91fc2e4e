"""Pipeline of retriever, reranker and pruner: from a query to pruned passages.

    pipeline = Pipeline.load("outputs/<a run>", reranker="outputs/<another>", pruner="outputs/<a third>")
    pipeline.add_documents(texts)
    for passage in pipeline.search("why does it rain", top_k=3).passages:
        print(passage.id, passage.score, passage.kept)

Every stage is a run's folder, an exported folder or a hub id; the first may be "bm25". A pruner is also a reranker:
given for both stages, it is loaded once and reads each candidate once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, overload

from reasonir.errors import InputError
from reasonir.index.fusion import fuse
from reasonir.inference.arguments import Queries, Strings, check_path, check_range, many_queries
from reasonir.inference.loading import Device, read_encoder, weights_digest
from reasonir.inference.pruner import Pruned, Pruner
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
from reasonir.inference.search_engine import Bm25Search, Hit, SearchEngine
from reasonir.model.encoder import Encoder
from reasonir.types import Text
from reasonir.utils.ranges import Fraction, Positive, Share, Validated
from reasonir.utils.values import shorten

BM25 = "bm25"


class Passage(NamedTuple):
    """Retrieved document: its score by the last stage that scored it, and its pruned text `kept`."""

    id: str
    text: str
    score: float
    kept: str


class Answer(NamedTuple):
    """Passages of a query, best first, and the seconds of each stage."""

    passages: list[Passage]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Pipeline(Validated):
    """Stages of a search, with the documents of the first one.

    Attributes:
        retriever: finds candidates.
        reranker: orders them; None keeps the retriever's order.
        pruner: removes sentences from the passages; None keeps them whole.
        candidates: number of documents to rerank.
        reranker_weight: share of the reranker's scores in those that order the candidates; the rest is the retriever's,
            both scaled to 0 to 1 over a query's candidates. BGE-Reasoner takes .6; 1 is the reranker alone.
    """

    retriever: SearchEngine = field(default_factory=Bm25Search)
    reranker: Reranker | None = None
    pruner: Pruner | None = None
    candidates: Positive = 50
    reranker_weight: Share = 1.0

    @classmethod
    def load(
        cls,
        retriever: str | Path = BM25,
        *,
        reranker: str | Path | None = None,
        pruner: str | Path | None = None,
        candidates: int = 50,
        threshold: float = 0.1,
        reranker_weight: float = 1.0,
        device: Device = "cpu",
        trust_remote_code: bool = False,
    ) -> Pipeline:
        """Load the pipeline of these models, without documents.

        Raises:
            InputError: a model can't be reached, doesn't fit its stage, or would run code that isn't trusted.
        """
        first = (
            None if retriever == BM25 else read_encoder(retriever, device=device, trust_remote_code=trust_remote_code)
        )
        if first is not None and first.head.kind != "retriever":
            raise InputError(f"retriever={retriever} holds a {first.head.kind}: give a retriever, or {BM25}")
        second, third = (None if path is None else check_path(path) for path in (reranker, pruner))
        stages = Stages(second, third, threshold, trust_remote_code, reranker_weight)
        return replace(stages.open(first, device=device), candidates=candidates)

    def problems(self) -> Iterable[str]:
        """Yield the stages that aren't loaded models of their kind."""
        kinds = {"retriever": SearchEngine, "reranker": Reranker | None, "pruner": Pruner | None}
        for name, kind in kinds.items():
            if not isinstance(stage := getattr(self, name), kind):
                yield f"{name}={shorten(stage)}: give a {name} that is loaded, or use Pipeline.load"

    def add_documents(
        self, texts: Strings | Mapping[str, str], ids: str | int | Iterable[str | int] | None = None
    ) -> list[str]:
        """Add documents; see `SearchEngine.add_documents`."""
        return self.retriever.add_documents(texts, ids)

    @overload
    def search(self, query: str | Text, top_k: int = 10) -> Answer: ...  # type: ignore[overload-overlap]
    @overload
    def search(self, query: Iterable[str | Text], top_k: int = 10) -> list[Answer]: ...
    def search(self, query: Queries, top_k: int = 10) -> Answer | list[Answer]:
        """Return the best `top_k` passages of a query; those beyond `candidates` in the retriever's order.

        Several queries get a list of answers.

        Raises:
            InputError: a query that isn't a text, or `top_k` that isn't a whole number of 1 or more.
        """
        check_range("top_k", top_k, Positive)
        answers = [self._answer(text, top_k) for text in many_queries(query, "query")]
        return answers[0] if isinstance(query, str | Text) else answers

    def _answer(self, query: Text, top_k: int) -> Answer:
        clock = Clock()
        with clock("retrieve"):
            hits = self.retriever.retrieve(query, max(top_k, self.candidates))
        pruned: dict[str, Pruned] = {}
        if self.reranker is not None:
            with clock("rerank"):
                hits, pruned = self._reranked(query, hits, self.reranker)
        hits = hits[:top_k]
        if self.pruner is not None:
            with clock("prune"):
                missing = [hit for hit in hits if hit.id not in pruned]
                pruned |= _pruned(self.pruner, query, missing)
        kept = {hit.id: pruned[hit.id].text if hit.id in pruned else hit.text for hit in hits}
        return Answer([Passage(*hit, kept[hit.id]) for hit in hits], clock.seconds)

    def _reranked(self, query: Text, hits: Sequence[Hit], reranker: Reranker) -> tuple[list[Hit], dict[str, Pruned]]:
        """Reranked candidates before the other hits, and the pruned candidates if the pruner is the same model."""
        candidates, rest = hits[: self.candidates], hits[self.candidates :]
        pruned = _pruned(self.pruner, query, candidates) if self.pruner is reranker else {}
        scores = (
            [pruned[hit.id].score for hit in candidates]
            if pruned
            else reranker.score(query, [hit.text for hit in candidates])
        )
        final = self.interpolated(
            {hit.id: hit.score for hit in candidates}, dict(zip((hit.id for hit in candidates), scores, strict=True))
        )
        scored = [hit._replace(score=final[hit.id]) for hit in candidates]
        return [*sorted(scored, key=lambda hit: -hit.score), *rest], pruned

    def interpolated(self, retrieved: Mapping[str, float], reranked: Mapping[str, float]) -> Mapping[str, float]:
        """Return the scores that order a query's candidates, from those of both stages."""
        if self.reranker_weight == 1:
            return reranked
        return fuse({"": dict(reranked)}, {"": dict(retrieved)}, weight=self.reranker_weight)[""]


def _pruned(pruner: Pruner, query: Text, hits: Sequence[Hit]) -> dict[str, Pruned]:
    pruned = pruner.prune(query, [hit.text for hit in hits])
    return {hit.id: document for hit, document in zip(hits, pruned, strict=True)}


@dataclass(slots=True)
class Clock:
    """Seconds of named stages."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Measure the block's time."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Stages(Validated):
    """Models of the other stages around one given model (`eval=pipeline` evaluates it).

    Attributes:
        reranker: run, exported folder or hub id of a reranker or pruner; None keeps the first stage's order.
        pruner: run, exported folder or hub id of a pruner; None keeps documents whole.
        threshold: sentences with a higher probability are kept.
        trust_remote_code: run Python code of these models.
        reranker_weight: see `Pipeline`; None is chosen on development queries, by evaluations alone.
    """

    reranker: str | None = None
    pruner: str | None = None
    threshold: Fraction = 0.1
    trust_remote_code: bool = False
    reranker_weight: Share | None = 1.0
    _loaded: dict[str, Encoder] = field(init=False, default_factory=dict, repr=False, compare=False)

    def open(self, encoder: Encoder | None, *, device: Device = "cpu") -> Pipeline:
        """Build the pipeline, without documents, with `encoder` as the stage of its head's kind.

        Without a reranker, a pruner given as `encoder` reranks as well. Without a retriever, BM25 finds candidates.

        Raises:
            InputError: a model can't be reached, or doesn't fit its stage.
        """
        kind = encoder.head.kind if encoder is not None else None
        pruner = encoder if kind == "pruner" else self._load("pruner", self.pruner, device)
        reranker = encoder if kind == "reranker" else self._load("reranker", self.reranker, device)
        if kind == "pruner" and reranker is None:
            reranker = encoder
        first = Retriever(encoder) if encoder is not None and kind == "retriever" else Bm25Search()
        prunes = None if pruner is None else Pruner(pruner, self.threshold)
        second: Reranker | None = None
        if reranker is not None:
            reads = Pruner if reranker.head.kind == "pruner" else Reranker
            second = prunes if reranker is pruner else reads(reranker)
        weight = 1.0 if self.reranker_weight is None else self.reranker_weight
        return Pipeline(first, second, prunes, reranker_weight=weight)

    def stamp(self) -> dict[str, str]:
        """Return the models with the hashes of their weights, and the threshold, for the protocol of results.

        Raises:
            InputError: a model can't be reached.
        """
        models = {"reranker": self.reranker, "pruner": self.pruner}
        stamps = {
            stage: f"{path} ({weights_digest(path, trust_remote_code=self.trust_remote_code)})" if path else "none"
            for stage, path in models.items()
        }
        stated = "chosen on development queries" if self.reranker_weight is None else f"{self.reranker_weight:g}"
        weight = {} if self.reranker_weight == 1 else {"reranker weight": stated}
        return {**stamps, **weight, "threshold": f"{self.threshold:g}"}

    def _load(self, stage: str, path: str | None, device: Device) -> Encoder | None:
        """The model of a stage; one that is given for two stages is loaded once."""
        if path is None:
            return None
        if path not in self._loaded:
            trust = self.trust_remote_code
            self._loaded[path] = read_encoder(path, device=device, trust_remote_code=trust)
        kind = self._loaded[path].head.kind
        if kind not in ("pruner", stage):
            raise InputError(f"{stage}={path} holds a {kind}: give a {stage}, or null")
        return self._loaded[path]
