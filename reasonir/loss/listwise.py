"""Listwise cross entropy (ListNet, Cao et al. 2007): softmax over a query's documents against normalised labels.

With one relevant document it is InfoNCE over the query's own documents. Queries without a target above 0, or with a
single document, are left out.

Shape letters: P labelled pairs, Q queries, G the most pairs of a query.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reasonir.loss.base import PairOutputs, Targeted
from reasonir.loss.per_query import by_query
from reasonir.utils.ranges import PositiveFloat


@dataclass(frozen=True, slots=True)
class Listwise(Targeted):
    """Cross entropy between softmax(score / temperature) and target / sum of targets, per query.

    Attributes:
        temperature: divisor of the scores.
    """

    temperature: PositiveFloat = 1.0
    compares: ClassVar[bool] = True

    @property
    def bounds(self) -> tuple[float, float]:
        """Targets that can be normalised to a share each."""
        return 0.0, math.inf

    def __call__(self, outputs: PairOutputs) -> Mapping[str, Tensor]:
        """Return the mean over queries."""
        target_P = outputs.target(self.target)
        inside_QG, scores_QG, target_QG = by_query(outputs, outputs.scores_P / self.temperature, target_P)
        log_share_QG = scores_QG.masked_fill(~inside_QG, -torch.inf).log_softmax(1).masked_fill(~inside_QG, 0)
        total_Q = target_QG.sum(1)
        losses_Q = -(target_QG * log_share_QG).sum(1) / total_Q.clamp(min=torch.finfo(total_Q.dtype).tiny)
        return {"loss": outputs.ranks.mean(losses_Q, (total_Q > 0) & (inside_QG.sum(1) > 1))}
