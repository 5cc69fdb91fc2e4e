"""LambdaLoss (Wang et al. 2018, CIKM): RankNet weighted by the change in nDCG of a swap, as NDCG-Loss2++.

The weight of two documents is |gain difference| x (LambdaRank's difference of the discounts at their ranks, plus mu
times that of the discounts at their distance from each other), gains being 2^label - 1 over the ideal DCG.

Shape letters: P labelled pairs, Q queries, G the most pairs of a query, sorted by score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reasonir.loss.base import PairOutputs, Targeted
from reasonir.loss.per_query import by_query, differences, ordered_pairs
from reasonir.utils.ranges import NonNegativeFloat, PositiveFloat


@dataclass(frozen=True, slots=True)
class Lambda(Targeted):
    """NDCG-Loss2++ over a query's documents.

    Attributes:
        mu: weight of the discounts at the documents' distance relative to those at their ranks.
        sigma: steepness of the comparison.
    """

    mu: NonNegativeFloat = 10.0
    sigma: PositiveFloat = 1.0
    compares: ClassVar[bool] = True

    @property
    def bounds(self) -> tuple[float, float]:
        """Grades whose gains, 2^grade - 1, float32 holds and adds."""
        return 0.0, 64.0

    def __call__(self, outputs: PairOutputs) -> Mapping[str, Tensor]:
        """Return the mean over pairs of documents whose targets differ, in bits."""
        inside_QG, scores_QG, target_QG = by_query(outputs, outputs.scores_P, outputs.target(self.target))
        order_QG = scores_QG.detach().masked_fill(~inside_QG, -torch.inf).argsort(dim=1, descending=True, stable=True)
        scores_QG, target_QG, inside_QG = (x_QG.gather(1, order_QG) for x_QG in (scores_QG, target_QG, inside_QG))
        rank_G = torch.arange(scores_QG.shape[1], device=scores_QG.device)
        discount_G = torch.log2(rank_G + 2.0)
        ideal_Q = ((2.0 ** target_QG.sort(dim=1, descending=True).values - 1) / discount_G).sum(1)
        gain_QG = (2.0**target_QG - 1) / ideal_Q.clamp(min=1e-10)[:, None]
        distance_GG = (rank_G[:, None] - rank_G).abs()
        step_GG = (1 / discount_G[distance_GG - 1] - 1 / torch.log2(distance_GG + 2.0)).abs()
        swap_GG = (1 / discount_G[:, None] - 1 / discount_G).abs()
        weight_QGG = (swap_GG + self.mu * step_GG) * differences(gain_QG).abs()
        losses_QGG = -weight_QGG * logsigmoid(self.sigma * differences(scores_QG)) / math.log(2)
        return {"loss": outputs.ranks.mean(losses_QGG, ordered_pairs(inside_QG, target_QG))}
