"""RankNet (Burges et al. 2005): of two documents of a query, the better one should score higher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from reasonir.loss.base import PairOutputs, Targeted
from reasonir.loss.per_query import by_query, ordered_pairs
from reasonir.utils.ranges import PositiveFloat


@dataclass(frozen=True, slots=True)
class Ranknet(Targeted):
    """log(1 + exp(-(better - worse) / temperature)) for every two documents whose targets differ.

    Attributes:
        temperature: of the scores.
    """

    temperature: PositiveFloat = 1.0
    compares: ClassVar[bool] = True

    def __call__(self, judged: PairOutputs) -> Mapping[str, Tensor]:
        """The mean over such pairs of documents."""
        inside_QG, scores_QG, target_QG = by_query(
            judged.query_P, judged.scores_P / self.temperature, judged.target(self.target)
        )
        query, better, worse = ordered_pairs(inside_QG, target_QG)
        gap = scores_QG[query, better] - scores_QG[query, worse]
        return {
            "loss": judged.ranks.mean(softplus(-gap)),
            "accuracy": judged.ranks.mean((gap.detach() > 0).float()),
        }
