"""Triplet margin loss on Euclidean distance (Schroff et al. 2015, arXiv:1503.03832).

Shape letters: P relevant pairs, Q queries, N documents of all devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs, RetrieverObjective
from reasonir.utils.ranges import NonNegativeFloat


@dataclass(frozen=True, slots=True)
class Margin(RetrieverObjective):
    """relu(distance to the relevant document - distance to a negative + margin); for heads with one vector per text.

    Attributes:
        margin: in units of distance: random vectors of D standard normal numbers are sqrt(2 D) apart.
        negatives: the "hardest" of the query's negatives in the batch, hard negatives included, or "all" of them.
    """

    margin: NonNegativeFloat = 1.0
    negatives: Literal["hardest", "all"] = "hardest"
    single_vector: ClassVar[bool] = True

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the mean over relevant pairs (and their negatives), and the mean distance of relevant pairs."""
        relevant = outputs.label_P > 0
        query_P, document_P = outputs.query_P[relevant], outputs.document_P[relevant]
        distance_QN = torch.cdist(outputs.queries.values_TD, outputs.documents.values_TD)
        near_P = distance_QN[query_P, document_P]
        far_PN = distance_QN[query_P].masked_fill(~outputs.negative_QN[query_P], torch.inf)
        gap_PN = (near_P[:, None] - far_PN + self.margin).relu()
        losses = gap_PN.amax(1) if self.negatives == "hardest" else gap_PN[outputs.negative_QN[query_P]]
        return {"loss": outputs.ranks.mean(losses), "positive_distance": outputs.ranks.mean(near_P.detach())}
