"""Distillation of a ranking: KL divergence from the teacher's softmax over a query's documents to the model's.

Hinton et al. 2015 (arXiv:1503.02531), over documents instead of classes, and without their factor of the squared
temperature. Queries with one document are left out.

Shape letters: P labelled pairs, Q queries, G the most pairs of a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reasonir.loss.base import PairOutputs, Targeted
from reasonir.loss.per_query import by_query
from reasonir.utils.ranges import PositiveFloat


@dataclass(frozen=True, slots=True)
class Kl(Targeted):
    """KL(softmax(target / target_temperature) || softmax(score / temperature)) per query.

    Attributes:
        temperature: divisor of the scores.
        target_temperature: divisor of the target.
    """

    temperature: PositiveFloat = 1.0
    target_temperature: PositiveFloat = 1.0
    compares: ClassVar[bool] = True

    def __call__(self, outputs: PairOutputs) -> Mapping[str, Tensor]:
        """Return the mean over queries."""
        inside_QG, scores_QG, target_QG = by_query(
            outputs, outputs.scores_P / self.temperature, outputs.target(self.target) / self.target_temperature
        )
        log_model_QG, log_target_QG = (
            values_QG.masked_fill(~inside_QG, -torch.inf).log_softmax(1).masked_fill(~inside_QG, 0)
            for values_QG in (scores_QG, target_QG)
        )
        losses_Q = (log_target_QG.exp() * inside_QG * (log_target_QG - log_model_QG)).sum(1)
        return {"loss": outputs.ranks.mean(losses_Q, inside_QG.sum(1) > 1)}
