"""InfoNCE over the whole batch (van den Oord et al. 2018, arXiv:1807.03748): tell the relevant document from others.

For every relevant pair, the cross entropy of its score among itself and the query's negatives: the hard ones of the
data and every other document of the batch, on all devices. The name is the field's; caching itself (GradCache,
arXiv:2101.06983) is the engine's work and holds for every objective.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs
from reasonir.utils.ranges import PositiveFloat, Validated


@dataclass(frozen=True, slots=True)
class CachedContrastive(Validated):
    """InfoNCE at `temperature`; other relevant documents of a query are never among its negatives."""

    temperature: PositiveFloat
    accepts: ClassVar[frozenset[str]] = frozenset({"retriever"})
    needs: ClassVar[frozenset[str]] = frozenset()
    teachers: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, judged: RetrievalOutputs) -> Mapping[str, Tensor]:
        """The mean over relevant pairs, and the share of them whose document came out on top."""
        relevant = judged.label_P > 0
        query_P, document_P = judged.query_P[relevant], judged.document_P[relevant]
        logits_PN = judged.scores_QN.index_select(0, query_P) / self.temperature
        candidate_PN = judged.negative_QN.index_select(0, query_P)
        candidate_PN = candidate_PN.scatter(1, document_P[:, None], True)
        logits_PN = logits_PN.masked_fill(~candidate_PN, -torch.inf)
        target_P = logits_PN.gather(1, document_P[:, None]).squeeze(1)
        return {
            "loss": judged.ranks.mean(logits_PN.logsumexp(1) - target_P),
            "accuracy": judged.ranks.mean((logits_PN.detach().amax(1) == target_P.detach()).float()),
        }
