"""Ranking and pruning documents for a query, with a pruner that was trained here or published.

    pruner = Pruner.load("outputs/<run>")
    for found in pruner.prune("why does it rain", texts, top_k=3):
        print(found.score, found.text)

Documents may be of any length (`reasonir.model.span_scoring`). The score is the sigmoid of the ranking logit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp
from pathlib import Path

from reasonir.errors import InputError
from reasonir.inference.loading import read_encoder
from reasonir.inference.reranker import Reranker
from reasonir.model.span_scoring import SpanScores, score_spans
from reasonir.types import Pair, Text, as_text
from reasonir.utils.sentences import sentences

Split = Callable[[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a document: its characters [start, end), and the probability that it helps."""

    start: int
    end: int
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is left of a document.

    Attributes:
        place: which of the given documents.
        score: the probability that it is relevant.
        title: its title, if it has one and any sentence is kept.
        text: the kept sentences, with what separates them from the next in the document.
        kept: those.
        dropped: the others.
        compression: the share of the document's characters that went.
    """

    place: int
    score: float
    title: str
    text: str
    kept: tuple[Sentence, ...]
    dropped: tuple[Sentence, ...]
    compression: float


@dataclass(frozen=True, slots=True)
class Pruner(Reranker):
    """Prunes with an encoder, and reranks by the scores of whole documents.

    Attributes:
        encoder: one whose head is a pruner.
        threshold: sentences with a higher probability are kept.
        split: gives the sentences of a text.
    """

    threshold: float = 0.1
    split: Split = sentences

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threshold: float = 0.1,
        language: str = "auto",
        max_length: int | None = None,
        device: str = "cpu",
        trust_remote_code: bool = False,
    ) -> Pruner:
        """The pruner of a run's folder, an exported folder or a hub id; see `reasonir.load`.

        Raises:
            InputError: as `reasonir.load`; or it is no pruner.
        """
        from reasonir.model.backbone import Model
        from reasonir.model.head.provence import Provence

        if max_length is None:
            encoder = read_encoder(str(path), device=device, trust_remote_code=trust_remote_code)
        else:
            head = partial(Provence.load, max_length=max_length)
            encoder = Model(path=str(path), head=head, trust_remote_code=trust_remote_code).load().eval().to(device)
        return cls(encoder, threshold, partial(sentences, language=language))

    def __post_init__(self) -> None:
        head = self.encoder.head
        if head.kind != "pruner":
            raise InputError(f"{type(head).__name__} is a {head.kind}, which can't prune: load it by reasonir.load")

    def score(self, query: str | Text, texts: Sequence[str]) -> list[float]:
        """The probability that each text is relevant, read to its end."""
        return [pruned.score for pruned in self.prune(query, texts)]

    def prune(
        self,
        query: str | Text,
        texts: Sequence[str],
        *,
        titles: Sequence[str] | None = None,
        top_k: int | None = None,
        reorder: bool = False,
    ) -> list[Pruned]:
        """What is left of each document.

        Args:
            query: the question, with an instruction if the model takes one.
            texts: documents of any length.
            titles: one a document, read before it and kept with it.
            top_k: only so many with the highest scores.
            reorder: put the highest scores first; otherwise documents stay in their order.

        Raises:
            InputError: titles of another number than texts, or a query that leaves no room for documents.
        """
        if titles is not None and len(titles) != len(texts):
            raise InputError(f"{len(titles)} titles for {len(texts)} texts: give each text one, or none")
        leads = ["" if not title else f"{title}\n" for title in titles or [""] * len(texts)]
        spans = [tuple(self.split(text)) for text in texts]
        asked = as_text(query)
        pairs = [
            Pair(asked, Text(lead + text), tuple((start + len(lead), end + len(lead)) for start, end in found))
            for lead, text, found in zip(leads, texts, spans, strict=True)
        ]
        found = [
            self._pruned(place, text, (titles or [""] * len(texts))[place], spans[place], scores)
            for place, (text, scores) in enumerate(zip(texts, score_spans(self.encoder, pairs), strict=True))
        ]
        best = sorted(found, key=lambda pruned: -pruned.score)[:top_k]
        return best if reorder else sorted(best, key=lambda pruned: pruned.place)

    def _pruned(
        self, place: int, text: str, title: str, spans: Sequence[tuple[int, int]], scores: SpanScores
    ) -> Pruned:
        judged = [Sentence(*span, text[slice(*span)], value) for span, value in zip(spans, scores.keep, strict=True)]
        nexts = [*(start for start, _ in spans), len(text)][1:] if spans else []
        kept = [(each, end) for each, end in zip(judged, nexts, strict=True) if each.probability > self.threshold]
        left = "".join(text[each.start : end] for each, end in kept).rstrip()
        return Pruned(
            place=place,
            score=1 / (1 + exp(-scores.score)),
            title=title if kept else "",
            text=left,
            kept=tuple(each for each, _ in kept),
            dropped=tuple(each for each in judged if each.probability <= self.threshold),
            compression=1 - len(left) / max(1, len(text.strip())),
        )
