"""Retriever, reranker and pruner after each other: from a question to the text that a reader is given.

    pipeline = Pipeline.load("outputs/<a run>", reranker="outputs/<another>", pruner="outputs/<a third>")
    pipeline.add_documents(texts)
    for passage in pipeline.search("why does it rain", top_k=3).passages:
        print(passage.id, passage.score, passage.kept)

Every stage is a run's folder, an exported folder or a hub id, told by what lies there; the first may be "bm25". A
pruner is a reranker too: named in both places, it is loaded once, reads each candidate once, and does both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from reasonir.errors import InputError
from reasonir.inference.loading import read_encoder
from reasonir.inference.pruner import Pruned, Pruner
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
from reasonir.inference.search_engine import Bm25Search, Hit, SearchEngine
from reasonir.model.encoder import Encoder
from reasonir.types import Text
from reasonir.utils.ranges import Fraction, Positive, Validated

BM25 = "bm25"


class Passage(NamedTuple):
    """A document that was found: its score by the last stage that scored it, and what is kept of it."""

    id: str
    text: str
    score: float
    kept: str


class Answer(NamedTuple):
    """The passages of a question, best first, and the seconds that each stage took."""

    passages: list[Passage]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Pipeline(Validated):
    """Stages with the documents that the first of them searches.

    Attributes:
        retriever: finds candidates.
        reranker: orders them; None leaves them as they were found.
        pruner: drops sentences of what is left; None drops nothing.
        candidates: how many documents are reranked.
    """

    retriever: SearchEngine = field(default_factory=Bm25Search)
    reranker: Reranker | None = None
    pruner: Pruner | None = None
    candidates: Positive = 50

    @classmethod
    def load(
        cls,
        retriever: str = BM25,
        *,
        reranker: str | None = None,
        pruner: str | None = None,
        candidates: int = 50,
        threshold: float = 0.1,
        device: str = "cpu",
        trust_remote_code: bool = False,
    ) -> Pipeline:
        """The pipeline of these models, without documents; all of them may run code of theirs if that is trusted.

        Raises:
            InputError: one can't be reached, can't do what it is named for, or would run code that isn't trusted.
        """
        first = (
            None if retriever == BM25 else read_encoder(retriever, device=device, trust_remote_code=trust_remote_code)
        )
        if first is not None and first.head.kind != "retriever":
            raise InputError(f"retriever={retriever} holds a {first.head.kind}: name a retriever, or {BM25}")
        stages = Stages(reranker, pruner, threshold, trust_remote_code)
        return replace(stages.open(first, device=device), candidates=candidates)

    def add_documents(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> list[str]:
        """See `Finder.add_documents`."""
        return self.retriever.add_documents(texts, ids)

    def search(self, query: str | Text, top_k: int = 10) -> Answer:
        """The best documents of a question, pruned; of more than `candidates` that are asked for, the rest as found.

        Raises:
            InputError: `top_k` below 1.
        """
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

    def _reranked(self, query: str | Text, hits: Sequence[Hit], by: Reranker) -> tuple[list[Hit], dict[str, Pruned]]:
        """The candidates in their new order before the rest, and what pruning them gave if that is the same model."""
        candidates, rest = hits[: self.candidates], hits[self.candidates :]
        pruned = _pruned(self.pruner, query, candidates) if self.pruner is by else {}
        scores = (
            [pruned[hit.id].score for hit in candidates]
            if pruned
            else by.score(query, [hit.text for hit in candidates])
        )
        scored = [hit._replace(score=score) for hit, score in zip(candidates, scores, strict=True)]
        return [*sorted(scored, key=lambda hit: -hit.score), *rest], pruned


def _pruned(pruner: Pruner, query: str | Text, hits: Sequence[Hit]) -> dict[str, Pruned]:
    found = pruner.prune(query, [hit.text for hit in hits])
    return {hit.id: pruned for hit, pruned in zip(hits, found, strict=True)}


@dataclass(slots=True)
class Clock:
    """Takes the time of named stages."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Stages(Validated):
    """The models that stand around one that is judged (`eval=pipeline`).

    Attributes:
        reranker: run, exported folder or hub id of a reranker or pruner; None keeps the first stage's order.
        pruner: of a pruner; None keeps documents whole.
        threshold: sentences with a higher probability are kept.
        trust_remote_code: run Python code that these models bring or name.
    """

    reranker: str | None = None
    pruner: str | None = None
    threshold: Fraction = 0.1
    trust_remote_code: bool = False
    _loaded: dict[str, Encoder] = field(init=False, default_factory=dict, repr=False, compare=False)

    def open(self, judged: Encoder | None, *, device: str = "cpu") -> Pipeline:
        """The pipeline, without documents, in which `judged` takes the place that its head is made for.

        A judged pruner reranks as well where no reranker is named. Without a judged retriever, BM25 finds candidates.

        Raises:
            InputError: a model can't be reached, or can't do what it is named for.
        """
        kind = judged.head.kind if judged is not None else None
        pruner = judged if kind == "pruner" else self._load("pruner", self.pruner, device)
        reranker = judged if kind == "reranker" else self._load("reranker", self.reranker, device)
        if kind == "pruner" and reranker is None:
            reranker = judged
        first = Retriever(judged) if judged is not None and kind == "retriever" else Bm25Search()
        prunes = None if pruner is None else Pruner(pruner, self.threshold)
        if reranker is None or reranker is pruner:
            return Pipeline(first, prunes if reranker is not None else None, prunes)
        return Pipeline(first, Pruner(reranker) if reranker.head.kind == "pruner" else Reranker(reranker), prunes)

    def _load(self, place: str, path: str | None, device: str) -> Encoder | None:
        """The model that is named for a place, loaded once whatever the number of places."""
        if path is None:
            return None
        if path not in self._loaded:
            trust = self.trust_remote_code
            self._loaded[path] = read_encoder(path, device=device, trust_remote_code=trust)
        kind = self._loaded[path].head.kind
        if kind not in ("pruner", place):
            raise InputError(f"{place}={path} holds a {kind}: name a model that can do it, or null")
        return self._loaded[path]
