"""Pointwise binary cross entropy: scores are logits of relevance; labels may be soft.

Shape letter: P labelled pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from reasonir.loss.base import PairOutputs, Targeted
from reasonir.utils.ranges import PositiveFloat


@dataclass(frozen=True, slots=True)
class Bce(Targeted):
    """Cross entropy of sigmoid(score / temperature) against a target between 0 and 1.

    Attributes:
        temperature: divisor of the scores; 1 for rerankers, whose scores are logits.
    """

    temperature: PositiveFloat = 1.0
    logits: ClassVar[bool] = True

    @property
    def bounds(self) -> tuple[float, float]:
        """Probabilities."""
        return 0.0, 1.0

    def __call__(self, outputs: PairOutputs) -> Mapping[str, Tensor]:
        """Return the mean over pairs."""
        target_P = outputs.target(self.target)
        losses_P = binary_cross_entropy_with_logits(outputs.scores_P / self.temperature, target_P, reduction="none")
        return {"loss": outputs.ranks.mean(losses_P)}
