"""InfoNCE with in-batch negatives across devices (van den Oord et al. 2018, arXiv:1807.03748).

The loss of a relevant pair is the cross entropy of its score among itself and the query's negatives: its hard negatives
and every other document of the batch, on all devices. The name is the common one; gradient caching itself (GradCache,
arXiv:2101.06983) is part of the engine and works with every objective.

Shape letters: R relevant pairs, Q queries, N documents of all devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs, RetrieverObjective
from reasonir.utils.ranges import PositiveFloat


@dataclass(frozen=True, slots=True)
class CachedContrastive(RetrieverObjective):
    """InfoNCE at `temperature`; other relevant documents of a query are never among its negatives."""

    temperature: PositiveFloat

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the mean over relevant pairs, and the share of them whose document ranks first."""
        query_R, document_R = (each_P[outputs.relevant_R] for each_P in (outputs.query_P, outputs.document_P))
        logits_RN = outputs.scores_QN.index_select(0, query_R) / self.temperature
        candidate_RN = outputs.negative_QN.index_select(0, query_R)
        candidate_RN = candidate_RN.scatter(1, document_R[:, None], True)
        logits_RN = logits_RN.masked_fill(~candidate_RN, -torch.inf)
        target_R = logits_RN.gather(1, document_R[:, None]).squeeze(1)
        return {
            "loss": outputs.ranks.mean(logits_RN.logsumexp(1) - target_R),
            "accuracy": outputs.ranks.mean((logits_RN.detach().amax(1) == target_R.detach()).float()),
        }
