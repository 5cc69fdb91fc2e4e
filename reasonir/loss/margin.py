"""Triplet margin on Euclidean distance (Schroff et al. 2015, arXiv:1503.03832): relevant nearer by a margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs
from reasonir.utils.ranges import NonNegativeFloat, Validated


@dataclass(frozen=True, slots=True)
class Margin(Validated):
    """relu(distance to the relevant document - distance to another one + margin); for heads of one vector a text.

    Attributes:
        margin: in units of distance: random vectors of D standard normal numbers lie sqrt(2 D) apart.
        negatives: the "hardest" of the query's negatives in the batch, the data's own among them, or "all" of them.
    """

    margin: NonNegativeFloat = 1.0
    negatives: Literal["hardest", "all"] = "hardest"
    accepts: ClassVar[frozenset[str]] = frozenset({"retriever"})
    needs: ClassVar[frozenset[str]] = frozenset()
    teachers: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, judged: RetrievalOutputs) -> Mapping[str, Tensor]:
        """The mean over relevant pairs (and their negatives), and the mean distance of relevant pairs."""
        relevant = judged.label_P > 0
        query_P, document_P = judged.query_P[relevant], judged.document_P[relevant]
        distance_QN = torch.cdist(judged.queries.values_TD, judged.documents.values_TD)
        near_P = distance_QN[query_P, document_P]
        far_PN = distance_QN[query_P].masked_fill(~judged.negative_QN[query_P], torch.inf)
        gap_PN = (near_P[:, None] - far_PN + self.margin).relu()
        losses = gap_PN.amax(1) if self.negatives == "hardest" else gap_PN[judged.negative_QN[query_P]]
        return {"loss": judged.ranks.mean(losses), "positive_distance": judged.ranks.mean(near_P.detach())}
