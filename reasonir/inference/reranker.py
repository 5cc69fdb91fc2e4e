"""Reranker: scores and orders texts for a query.

reranker = Reranker.load("outputs/<run>")
reranker.rerank("why does it rain", texts, top_k=3)    # [(2, 0.97), (0, 0.41), ...]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reasonir.errors import InputError
from reasonir.inference.loading import read_encoder
from reasonir.model.encoder import Encoder
from reasonir.types import Pair, Text, as_text


class Ranked(NamedTuple):
    """Text of a ranking: its position in the given texts, and its score."""

    position: int
    score: float


@dataclass(frozen=True, slots=True)
class Reranker:
    """Reranker with an encoder.

    Attributes:
        encoder: whose head reads query and document together.
    """

    encoder: Encoder

    def __post_init__(self) -> None:
        head = self.encoder.head
        if head.kind == "retriever":
            raise InputError(f"{type(head).__name__} is a retriever, which reads no pairs: load it by reasonir.load")

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu", trust_remote_code: bool = False) -> Reranker:
        """Load the reranker of a run's folder, an exported folder or a hub id; see `reasonir.load`.

        Raises:
            InputError: as `reasonir.load`; or it is a retriever.
        """
        return cls(read_encoder(str(path), device=device, trust_remote_code=trust_remote_code))

    def score(self, query: str | Text, texts: Sequence[str]) -> list[float]:
        """Return the probability that each text is relevant: the sigmoid of the head's logit."""
        pairs = [Pair(as_text(query), Text(text)) for text in texts]
        return [float(score) for score in self.encoder.score_pairs(pairs).double().sigmoid()]

    def rerank(self, query: str | Text, texts: Sequence[str], top_k: int | None = None) -> list[Ranked]:
        """Return the texts with the highest scores, best first; ties keep the given order."""
        ranking = [Ranked(position, score) for position, score in enumerate(self.score(query, texts))]
        return sorted(ranking, key=lambda ranked: -ranked.score)[:top_k]
