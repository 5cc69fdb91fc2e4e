"""A ranking and a pruning term in one (Provence, arXiv:2501.16214, with the weights of its and OpenProvence's recipes).

The ranking term is any objective on pairs; by default cross entropy against a soft target between 0 and 1, so the score
stays a logit and its sigmoid is taken once, where somebody wants a probability. The pruning term is cross entropy over
tokens, on the logit that a token is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from reasonir.loss.base import SPANS, Objective, PruningOutputs, needs_of
from reasonir.loss.bce import Bce
from reasonir.utils.ranges import NonNegativeFloat, Validated


@dataclass(frozen=True, slots=True)
class ProvenceLoss(Validated):
    """ranking_weight * ranking + pruning_weight * pruning.

    Attributes:
        ranking: what trains the score.
        ranking_weight: its weight.
        pruning_weight: that of the tokens' cross entropy.
        average: "token" counts every judged token alike, as the published recipe does, so long documents outweigh
            short ones; "document" takes each document's mean first.
    """

    ranking: Objective = field(default_factory=Bce)
    ranking_weight: NonNegativeFloat = 0.05
    pruning_weight: NonNegativeFloat = 1.0
    average: Literal["token", "document"] = "token"
    accepts: ClassVar[frozenset[str]] = frozenset({"pruner"})

    @property
    def teachers(self) -> frozenset[str]:
        """Those of the ranking term."""
        return self.ranking.teachers

    @property
    def needs(self) -> frozenset[str]:
        """What the ranking term needs, and judged spans for the other."""
        return needs_of(self.ranking) | {SPANS}

    def __call__(self, judged: PruningOutputs) -> Mapping[str, Tensor]:
        """The sum, and both terms."""
        ranking = self.ranking(judged)["loss"]
        known_T = ~judged.token_label_T.isnan()
        losses = binary_cross_entropy_with_logits(
            judged.keep_T[known_T], judged.token_label_T[known_T], reduction="none"
        )
        if self.average == "document":
            losses = _means(losses, judged.pair_T[known_T])
        pruning = judged.ranks.mean(losses)
        total = self.ranking_weight * ranking + self.pruning_weight * pruning
        return {"loss": total, "ranking": ranking.detach(), "pruning": pruning.detach()}


def _means(values_T: Tensor, pair_T: Tensor) -> Tensor:
    """The mean of each pair that has values."""
    distinct_P, place_T, count_P = torch.unique(pair_T, return_inverse=True, return_counts=True)
    mean_P: Tensor = values_T.new_zeros(distinct_P.numel()).index_add(0, place_T, values_T) / count_P
    return mean_P
