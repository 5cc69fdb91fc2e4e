"""Ranking plus pruning loss (Provence, arXiv:2501.16214, with the weights of its and OpenProvence's recipes).

The ranking term is any objective on pairs; by default cross entropy against a soft target between 0 and 1, so the score
stays a logit and the sigmoid is applied only where a probability is needed. The pruning term is cross entropy over
tokens, on the logit that a token is kept.

Shape letters: T document tokens, P pairs with labelled tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from reasonir.loss.base import SPANS, Objective, PruningOutputs, needs_of
from reasonir.loss.bce import Bce
from reasonir.utils.ranges import NonNegativeFloat, Validated


@dataclass(frozen=True, slots=True)
class ProvenceLoss(Validated):
    """ranking_weight * ranking + pruning_weight * pruning.

    Attributes:
        ranking: objective of the score.
        ranking_weight: weight of the ranking term.
        pruning_weight: weight of the tokens' cross entropy.
        average: "token" weights all labelled tokens equally, as the published recipe does, so long documents outweigh
            short ones; "document" takes the mean of each document first.
    """

    ranking: Objective = field(default_factory=Bce)
    ranking_weight: NonNegativeFloat = 0.05
    pruning_weight: NonNegativeFloat = 1.0
    average: Literal["token", "document"] = "token"
    accepts: ClassVar[frozenset[str]] = frozenset({"pruner"})

    def problems(self) -> Iterable[str]:
        """Yield a sum that is always 0."""
        if not self.ranking_weight and not self.pruning_weight:
            yield "ranking_weight=0 and pruning_weight=0 train nothing: give one of them another weight"

    @property
    def parts(self) -> tuple[Objective]:
        """The ranking term; the tokens' labels are its own."""
        return (self.ranking,)

    @property
    def teachers(self) -> frozenset[str]:
        """Teachers of the ranking term."""
        return self.ranking.teachers

    @property
    def needs(self) -> frozenset[str]:
        """Requirements of the ranking term, and labelled spans."""
        return needs_of(self.ranking) | {SPANS}

    def __call__(self, outputs: PruningOutputs) -> Mapping[str, Tensor]:
        """Return the sum, and both terms."""
        ranking = self.ranking(outputs)["loss"]
        labelled_T = ~outputs.token_label_T.isnan()
        losses = binary_cross_entropy_with_logits(
            outputs.keep_T, outputs.token_label_T.nan_to_num(0), reduction="none"
        ).where(labelled_T, 0)
        counted = labelled_T
        if self.average == "document":
            total_P, count_P = (
                losses.new_zeros(outputs.scores_P.shape).index_add(0, outputs.pair_T, each_T)
                for each_T in (losses, labelled_T.to(losses.dtype))
            )
            losses, counted = total_P / count_P.clamp(min=1), count_P > 0
        pruning = outputs.ranks.mean(losses, counted)
        total = self.ranking_weight * ranking + self.pruning_weight * pruning
        return {"loss": total, "ranking": ranking.detach(), "pruning": pruning.detach()}
