"""MarginMSE (Hofstätter et al. 2020, arXiv:2010.02666): keep the distance a teacher puts between two documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from reasonir.loss.base import ORDER, PairOutputs, Targeted
from reasonir.loss.per_query import by_query, ordered_pairs


@dataclass(frozen=True, slots=True)
class MarginMse(Targeted):
    """The squared difference of the two margins, for every relevant document against every less relevant one."""

    compares: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        """Documents of a query whose labels differ, whatever the target."""
        return frozenset({ORDER})

    def __call__(self, judged: PairOutputs) -> Mapping[str, Tensor]:
        """The mean over such pairs of documents."""
        inside_QG, scores_QG, target_QG, label_QG = by_query(
            judged.query_P, judged.scores_P, judged.target(self.target), judged.label_P
        )
        query, better, worse = ordered_pairs(inside_QG, label_QG)
        ours, theirs = (each[query, better] - each[query, worse] for each in (scores_QG, target_QG))
        return {"loss": judged.ranks.mean((ours - theirs).square())}
