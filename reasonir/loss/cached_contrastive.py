"""InfoNCE with in-batch negatives across devices (van den Oord et al. 2018, arXiv:1807.03748).

The loss of a relevant pair is the cross entropy of its score among itself and the query's negatives: its hard negatives
and every other document of the batch, on all devices. The name is the common one; gradient caching itself (GradCache,
arXiv:2101.06983) is part of the engine and works with every objective.

Shape letters: P relevant pairs, Q queries, N documents of all devices.
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
        relevant = outputs.label_P > 0
        query_P, document_P = outputs.query_P[relevant], outputs.document_P[relevant]
        logits_PN = outputs.scores_QN.index_select(0, query_P) / self.temperature
        candidate_PN = outputs.negative_QN.index_select(0, query_P)
        candidate_PN = candidate_PN.scatter(1, document_P[:, None], True)
        logits_PN = logits_PN.masked_fill(~candidate_PN, -torch.inf)
        target_P = logits_PN.gather(1, document_P[:, None]).squeeze(1)
        return {
            "loss": outputs.ranks.mean(logits_PN.logsumexp(1) - target_P),
            "accuracy": outputs.ranks.mean((logits_PN.detach().amax(1) == target_P.detach()).float()),
        }
