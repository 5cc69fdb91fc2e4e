"""MarginMSE (Hofstätter et al. 2020, arXiv:2010.02666): match the teacher's score difference of two documents.

Shape letters: P labelled pairs, Q queries, G the most pairs of a query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from reasonir.loss.base import ORDER, PairOutputs, Targeted
from reasonir.loss.per_query import by_query, ordered_pairs


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
            outputs.query_P, outputs.scores_P, outputs.target(self.target), outputs.label_P
        )
        query, better, worse = ordered_pairs(inside_QG, label_QG)
        margin, expected = (x_QG[query, better] - x_QG[query, worse] for x_QG in (scores_QG, target_QG))
        return {"loss": outputs.ranks.mean((margin - expected).square())}
