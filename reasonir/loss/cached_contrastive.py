"""InfoNCE with in-batch negatives across devices (van den Oord et al. 2018, arXiv:1807.03748).

The loss of a relevant pair is the cross entropy of its score among itself and the query's negatives: its hard negatives
and every other document of the batch, on all devices. The name is the common one; gradient caching itself (GradCache,
arXiv:2101.06983) is part of the engine and works with every objective.

Shape letters: R relevant pairs, Q queries, N documents of all devices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs, RetrieverObjective
from reasonir.utils.ranges import NonNegative, NonNegativeFloat, PositiveFloat


@dataclass(frozen=True, slots=True)
class CachedContrastive(RetrieverObjective):
    """InfoNCE; other relevant documents of a query are never among its negatives.

    Attributes:
        temperature: divisor of the scores.
        final_temperature: temperature after `cooling` batches, approached by half a cosine; None keeps the first.
        cooling: batches until `final_temperature`.
        hardness: a negative document with score s counts exp(hardness x s) times, without a gradient through that
            weight (LLaVE, arXiv:2503.04812, equation 5, over all negatives of the query).
    """

    temperature: PositiveFloat
    final_temperature: PositiveFloat | None = None
    cooling: NonNegative = 0
    hardness: NonNegativeFloat = 0.0

    def problems(self) -> Iterable[str]:
        """Yield half a schedule."""
        if (self.final_temperature is None) != (self.cooling == 0):
            yield "final_temperature and cooling belong together: give both, or neither"

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the mean over relevant pairs, the share of them whose document ranks first, and what is scheduled."""
        query_R, document_R = relevant_pairs(outputs)
        temperature = self.temperature_at(outputs.step)
        scores_RN = outputs.scores_QN.index_select(0, query_R)
        negative_RN = outputs.negative_QN.index_select(0, query_R).scatter(1, document_R[:, None], False)
        candidate_RN = negative_RN.scatter(1, document_R[:, None], True)
        logits_RN = (scores_RN / temperature).masked_fill(~candidate_RN, -torch.inf)
        target_R = logits_RN.gather(1, document_R[:, None]).squeeze(1)
        weighted_RN = logits_RN + self.hardness * scores_RN.detach() * negative_RN if self.hardness else logits_RN
        terms = {
            "loss": outputs.ranks.mean(self.normaliser(outputs, weighted_RN, temperature) - target_R),
            "accuracy": outputs.ranks.mean((logits_RN.detach().amax(1) == target_R.detach()).float()),
        }
        return terms | ({"temperature": target_R.new_tensor(temperature)} if self.cooling else {})

    def temperature_at(self, step: int) -> float:
        """Return the temperature of a batch, by its number in the run."""
        if self.final_temperature is None:
            return self.temperature
        left = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.cooling)))
        return self.final_temperature + left * (self.temperature - self.final_temperature)

    def normaliser(self, outputs: RetrievalOutputs, logits_RN: Tensor, temperature: float) -> Tensor:
        """Return the logarithm of the softmax's denominator of every relevant pair.

        Args:
            outputs: the step's.
            logits_RN: logits of the pair's query with its document and its negatives, -inf elsewhere.
            temperature: divisor of other scores.
        """
        return logits_RN.logsumexp(1)


def relevant_pairs(outputs: RetrievalOutputs) -> tuple[Tensor, Tensor]:
    """Return (query_R, document_R) of this device."""
    return outputs.query_P[outputs.relevant_R], outputs.document_P[outputs.relevant_R]
