"""Distillation of a ranking: KL divergence from the teacher's softmax over a query's documents to the model's own.

Hinton et al. 2015 (arXiv:1503.02531), over documents instead of classes. Queries with one document are left out.
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
    """KL(softmax(target / target_temperature) || softmax(score / temperature)), a query.

    Attributes:
        temperature: of the scores.
        target_temperature: of the target.
    """

    temperature: PositiveFloat = 1.0
    target_temperature: PositiveFloat = 1.0
    compares: ClassVar[bool] = True

    def __call__(self, judged: PairOutputs) -> Mapping[str, Tensor]:
        """The mean over queries."""
        inside_QG, scores_QG, target_QG = by_query(
            judged.query_P, judged.scores_P / self.temperature, judged.target(self.target) / self.target_temperature
        )
        ours_QG, theirs_QG = (
            values_QG.masked_fill(~inside_QG, -torch.inf).log_softmax(1).masked_fill(~inside_QG, 0)
            for values_QG in (scores_QG, target_QG)
        )
        losses_Q = (theirs_QG.exp() * inside_QG * (theirs_QG - ours_QG)).sum(1)
        return {"loss": judged.ranks.mean(losses_Q[inside_QG.sum(1) > 1])}
