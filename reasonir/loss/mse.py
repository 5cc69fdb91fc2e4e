"""Pointwise mean squared error between what a pair scores and what it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from reasonir.loss.base import PairOutputs, Targeted


@dataclass(frozen=True, slots=True)
class Mse(Targeted):
    """(score - target) squared.

    Attributes:
        sigmoid: compare sigmoid(score), for targets between 0 and 1; otherwise the score, for a teacher's logits.
    """

    sigmoid: bool = True

    def __call__(self, judged: PairOutputs) -> Mapping[str, Tensor]:
        """The mean over pairs."""
        scores_P = judged.scores_P.sigmoid() if self.sigmoid else judged.scores_P
        return {"loss": judged.ranks.mean((scores_P - judged.target(self.target)).square())}
