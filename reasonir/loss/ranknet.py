"""RankNet (Burges et al. 2005): logistic loss on the score difference of two documents of a query.

Shape letters: P labelled pairs, Q queries, G the most pairs of a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from reasonir.loss.base import PairOutputs, Targeted
from reasonir.loss.per_query import by_query, differences, ordered_pairs
from reasonir.utils.ranges import PositiveFloat


@dataclass(frozen=True, slots=True)
class Ranknet(Targeted):
    """log(1 + exp(-(better - worse) / temperature)) for every two documents whose targets differ.

    Attributes:
        temperature: divisor of the scores.
    """

    temperature: PositiveFloat = 1.0
    compares: ClassVar[bool] = True

    def __call__(self, outputs: PairOutputs) -> Mapping[str, Tensor]:
        """Return the mean over pairs of documents, and the share of them in the right order."""
        inside_QG, scores_QG, target_QG = by_query(
            outputs, outputs.scores_P / self.temperature, outputs.target(self.target)
        )
        ordered_QGG, gap_QGG = ordered_pairs(inside_QG, target_QG), differences(scores_QG)
        return {
            "loss": outputs.ranks.mean(softplus(-gap_QGG), ordered_QGG),
            "accuracy": outputs.ranks.mean((gap_QGG.detach() > 0).float(), ordered_QGG),
        }
