"""Pruner: scores and prunes documents for a query.

    pruner = Pruner.load("outputs/<run>")
    for pruned in pruner.prune("why does it rain", texts, top_k=3):
        print(pruned.score, pruned.text)

Documents may be of any length (`reasonir.model.span_scoring`). The score is the sigmoid of the ranking logit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp
from pathlib import Path

from reasonir.errors import InputError
from reasonir.inference.arguments import Strings, check_range, many_strings, one_query
from reasonir.inference.loading import Device, check_encoder, read_encoder, usable_device
from reasonir.inference.reranker import Reranker
from reasonir.model.span_scoring import SpanScores, score_spans
from reasonir.types import Pair, Text
from reasonir.utils.ranges import Fraction, Positive
from reasonir.utils.sentences import sentences
from reasonir.utils.values import shorten

Split = Callable[[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Sentence:
    """Sentence of a document: its characters [start, end), and the probability that it is relevant."""

    start: int
    end: int
    text: str
    probability: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """Pruned document.

    Attributes:
        position: of the document in the given texts.
        score: probability that the document is relevant.
        title: the document's title, if it has one and any sentence is kept.
        text: the kept sentences with the white space between them.
        kept: the kept sentences.
        dropped: the removed sentences.
        compression: share of the document's characters that were removed.
    """

    position: int
    score: float
    title: str
    text: str
    kept: tuple[Sentence, ...]
    dropped: tuple[Sentence, ...]
    compression: float


@dataclass(frozen=True, slots=True)
class Pruner(Reranker):
    """Pruner and reranker with an encoder.

    Attributes:
        encoder: whose head is a pruner.
        threshold: sentences with a higher probability are kept.
        split: returns the character ranges of a text's sentences.
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
        device: Device = "cpu",
        trust_remote_code: bool = False,
    ) -> Pruner:
        """Load the pruner of a run's folder, an exported folder or a hub id; see `reasonir.load`.

        Raises:
            InputError: as `reasonir.load`; or it is no pruner.
        """
        from reasonir.model.backbone import Model
        from reasonir.model.head.provence import Provence

        check_range("language", language, str)
        if max_length is None:
            encoder = read_encoder(path, device=device, trust_remote_code=trust_remote_code)
        else:
            head = partial(Provence.load, max_length=max_length)
            encoder = (
                Model(path=str(path), head=head, trust_remote_code=trust_remote_code)
                .load()
                .eval()
                .to(usable_device(device))
            )
        return cls(encoder, threshold, partial(sentences, language=language))

    def __post_init__(self) -> None:
        check_encoder(self.encoder, "pruner")
        check_range("threshold", self.threshold, Fraction)
        if not callable(self.split):
            raise InputError(f"split is {shorten(self.split)}: give a function from a text to its character ranges")

    def score(self, query: str | Text, texts: Strings) -> list[float]:
        """Return the probability that each text is relevant; long texts are read to their end."""
        return [pruned.score for pruned in self.prune(query, texts)]

    def prune(
        self,
        query: str | Text,
        texts: Strings,
        *,
        titles: Strings | None = None,
        top_k: int | None = None,
        reorder: bool = False,
    ) -> list[Pruned]:
        """Prune documents.

        Args:
            query: with an instruction if the model takes one.
            texts: one document or many, of any length.
            titles: one per document, read before it, "" for a document without; None for none.
            top_k: number of documents with the highest scores to return; None for all.
            reorder: sort by score; otherwise documents stay in their order.

        Raises:
            InputError: something other than one query and its texts, titles of another number, `top_k` that isn't a
                whole number of 1 or more, or a query that leaves no room for documents.
        """
        question, texts = one_query(query), many_strings(texts)
        check_range("top_k", top_k, Positive | None)
        titles = [""] * len(texts) if titles is None else many_strings(titles, "titles", blank=True)
        if len(titles) != len(texts):
            raise InputError(f"{len(titles)} titles for {len(texts)} texts: give one title per text, or none")
        heads = [f"{title}\n" if title else "" for title in titles]
        spans = [self._spans(text) for text in texts]
        pairs = [
            Pair(question, Text(head + text), tuple((start + len(head), end + len(head)) for start, end in ranges))
            for head, text, ranges in zip(heads, texts, spans, strict=True)
        ]
        pruned = [
            self._pruned(index, text, titles[index], spans[index], scores)
            for index, (text, scores) in enumerate(zip(texts, score_spans(self.encoder, pairs), strict=True))
        ]
        best = sorted(pruned, key=lambda document: -document.score)[:top_k]
        return best if reorder else sorted(best, key=lambda document: document.position)

    def _spans(self, text: str) -> tuple[tuple[int, int], ...]:
        """Return the sentences of a text, checked: `split` may be anyone's."""
        spans = tuple((start, end) for start, end in self.split(text))
        edges = [0, *(edge for span in spans for edge in span), len(text)]
        if edges != sorted(edges) or any(start == end for start, end in spans):
            raise InputError(f"split gives {shorten(spans)} for {shorten(text)}: give ranges in it, in order and apart")
        return spans

    def _pruned(
        self, index: int, text: str, title: str, spans: Sequence[tuple[int, int]], scores: SpanScores
    ) -> Pruned:
        scored = [Sentence(*span, text[slice(*span)], value) for span, value in zip(spans, scores.keep, strict=True)]
        ends = [*(start for start, _ in spans), len(text)][1:] if spans else []
        kept = [(sentence, end) for sentence, end in zip(scored, ends, strict=True) if self._keeps(sentence)]
        kept_text = "".join(text[sentence.start : end] for sentence, end in kept).rstrip()
        return Pruned(
            position=index,
            score=1 / (1 + exp(-scores.score)),
            title=title if kept else "",
            text=kept_text,
            kept=tuple(sentence for sentence, _ in kept),
            dropped=tuple(sentence for sentence in scored if not self._keeps(sentence)),
            compression=1 - len(kept_text) / max(1, len(text.strip())),
        )

    def _keeps(self, sentence: Sentence) -> bool:
        return sentence.probability > self.threshold
