"""Pointwise binary cross entropy: a pair's score is the logit of its being relevant; labels may be soft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from reasonir.loss.base import PairOutputs, Targeted
from reasonir.utils.ranges import PositiveFloat


@dataclass(frozen=True, slots=True)
class Bce(Targeted):
    """Cross entropy of sigmoid(score / temperature) against a target between 0 and 1.

    Attributes:
        temperature: what scores are divided by; 1 for rerankers, whose scores are logits.
    """

    temperature: PositiveFloat = 1.0

    def __call__(self, judged: PairOutputs) -> Mapping[str, Tensor]:
        """The mean over pairs."""
        target_P = judged.target(self.target)
        losses_P = binary_cross_entropy_with_logits(judged.scores_P / self.temperature, target_P, reduction="none")
        return {"loss": judged.ranks.mean(losses_P)}
