"""MarginMSE (Hofstätter et al. 2020, arXiv:2010.02666): match the teacher's score difference of two documents.

Shape letters: P labelled pairs, Q queries, G the most pairs of a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from reasonir.loss.base import ORDER, PairOutputs, Targeted
from reasonir.loss.per_query import by_query, differences, ordered_pairs


@dataclass(frozen=True, slots=True)
class MarginMse(Targeted):
    """Squared difference of the two margins, for every relevant document against every less relevant one."""

    compares: ClassVar[bool] = True

    @property
    def needs(self) -> frozenset[str]:
        """Documents of a query whose labels differ, with any target."""
        return frozenset({ORDER})

    def __call__(self, outputs: PairOutputs) -> Mapping[str, Tensor]:
        """Return the mean over pairs of documents."""
        inside_QG, scores_QG, target_QG, label_QG = by_query(
            outputs, outputs.scores_P, outputs.target(self.target), outputs.label_P
        )
        squared_QGG = differences(scores_QG - target_QG).square()
        return {"loss": outputs.ranks.mean(squared_QGG, ordered_pairs(inside_QG, label_QG))}
