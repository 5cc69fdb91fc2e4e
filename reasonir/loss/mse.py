"""Pointwise mean squared error between scores and targets.

Shape letter: P labelled pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from reasonir.loss.base import ANY, PairOutputs, Targeted


@dataclass(frozen=True, slots=True)
class Mse(Targeted):
    """(score - target) squared.

    Attributes:
        sigmoid: compare sigmoid(score), for targets between 0 and 1; otherwise the score, for a teacher's logits.
    """

    sigmoid: bool = True
    logits: ClassVar[bool] = True

    @property
    def bounds(self) -> tuple[float, float]:
        """Probabilities, with the sigmoid."""
        return (0.0, 1.0) if self.sigmoid else ANY

    def __call__(self, outputs: PairOutputs) -> Mapping[str, Tensor]:
        """Return the mean over pairs."""
        scores_P = outputs.scores_P.sigmoid() if self.sigmoid else outputs.scores_P
        return {"loss": outputs.ranks.mean((scores_P - outputs.target(self.target)).square())}
