"""Reranker: scores and orders texts for a query.

reranker = Reranker.load("outputs/<run>")
reranker.rerank("why does it rain", texts, top_k=3)    # [(2, 0.97), (0, 0.41), ...]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from reasonir.inference.arguments import Strings, check_range, many_strings, one_query
from reasonir.inference.loading import Device, check_encoder, read_encoder
from reasonir.model.encoder import Encoder
from reasonir.types import Pair, Text
from reasonir.utils.ranges import Positive


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
        check_encoder(self.encoder, "reranker", "pruner")

    @classmethod
    def load(cls, path: str | Path, *, device: Device = "cpu", trust_remote_code: bool = False) -> Reranker:
        """Load the reranker of a run's folder, an exported folder or a hub id; see `reasonir.load`.

        Raises:
            InputError: as `reasonir.load`; or it is a retriever.
        """
        return cls(read_encoder(path, device=device, trust_remote_code=trust_remote_code))

    def score(self, query: str | Text, texts: Strings) -> list[float]:
        """Return the probability that each text is relevant: the sigmoid of the head's logit.

        Raises:
            InputError: something other than one query and its texts.
        """
        question = one_query(query)
        pairs = [Pair(question, Text(text)) for text in many_strings(texts)]
        return [float(score) for score in self.encoder.score_pairs(pairs).double().sigmoid()]

    def rerank(self, query: str | Text, texts: Strings, top_k: int | None = None) -> list[Ranked]:
        """Return the texts with the highest scores, best first; ties keep the given order.

        Raises:
            InputError: as `score`; or `top_k` isn't a whole number of 1 or more, or None for all.
        """
        check_range("top_k", top_k, Positive | None)
        ranking = [Ranked(position, score) for position, score in enumerate(self.score(query, texts))]
        return sorted(ranking, key=lambda ranked: -ranked.score)[:top_k]
