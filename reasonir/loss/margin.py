"""Triplet margin loss on Euclidean distance (Schroff et al. 2015, arXiv:1503.03832).

Shape letters: R relevant pairs, Q queries, N documents of all devices.
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
    vectors_only: ClassVar[bool] = True
    sparse: ClassVar[bool | None] = False

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the mean over relevant pairs (and their negatives), and the mean distance of relevant pairs."""
        query_R, document_R = (each_P[outputs.relevant_R] for each_P in (outputs.query_P, outputs.document_P))
        distance_QN = torch.cdist(outputs.queries.values_TD, outputs.documents.values_TD)
        near_R = distance_QN[query_R, document_R]
        negative_RN = outputs.negative_QN[query_R]
        far_RN = distance_QN[query_R].masked_fill(~negative_RN, torch.inf)
        gap_RN = (near_R[:, None] - far_RN + self.margin).relu()
        hardest = self.negatives == "hardest"
        loss = outputs.ranks.mean(gap_RN.amax(1)) if hardest else outputs.ranks.mean(gap_RN, negative_RN)
        return {"loss": loss, "positive_distance": outputs.ranks.mean(near_R.detach())}
