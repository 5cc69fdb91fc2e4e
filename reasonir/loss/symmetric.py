"""InfoNCE in both directions: the document among the query's, and the query among the document's.

The mean of two cross entropies, as in CLIP (arXiv:2103.00020). The negatives of a pair's document are the queries of
all devices to which the document isn't known and whose tokens aren't those of the pair's query.

Shape letters: R relevant pairs, Q queries, A queries of all devices, N documents of all devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.loss.base import RetrievalOutputs
from reasonir.loss.cached_contrastive import CachedContrastive, relevant_pairs


@dataclass(frozen=True, slots=True)
class Symmetric(CachedContrastive):
    """Mean of InfoNCE from queries to documents and from documents to queries; see `CachedContrastive`."""

    def normaliser(self, outputs: RetrievalOutputs, logits_RN: Tensor, temperature: float) -> Tensor:
        """See `CachedContrastive.normaliser`: the mean of both directions'."""
        logits_RA = document_to_query(outputs, Queries.of(outputs), temperature)
        return (logits_RN.logsumexp(1) + logits_RA.logsumexp(1)) / 2


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries of all devices, as seen from this device's relevant pairs.

    own_R is the number of each pair's query among them; another_RA are those with other tokens than it; negative_AN are
    the documents that may be their negatives.
    """

    own_R: Tensor
    another_RA: Tensor
    negative_AN: Tensor

    @classmethod
    def of(cls, outputs: RetrievalOutputs) -> Queries:
        """Gather the queries' keys and negatives."""
        query_R = relevant_pairs(outputs)[0]
        key_A, offset = outputs.ranks.gather_keys(outputs.query_key_Q)
        another_QA = (outputs.query_key_Q[:, None] != key_A).to(query_R.device, non_blocking=True)
        negative_AN = gathered(outputs, outputs.negative_QN.float()).bool()
        return cls(query_R + offset, another_QA.index_select(0, query_R), negative_AN)


def document_to_query(outputs: RetrievalOutputs, queries: Queries, temperature: float) -> Tensor:
    """Return logits_RA of each relevant pair's document with its query and its negative queries, -inf elsewhere."""
    document_R = relevant_pairs(outputs)[1]
    scores_RA = gathered(outputs, outputs.scores_QN).index_select(1, document_R).T
    negative_RA = queries.negative_AN.index_select(1, document_R).T & queries.another_RA
    candidate_RA = negative_RA.scatter(1, queries.own_R[:, None], True)
    return (scores_RA / temperature).masked_fill(~candidate_RA, -torch.inf)


def gathered(outputs: RetrievalOutputs, rows: Tensor) -> Tensor:
    """Return the rows of all devices' queries."""
    return outputs.ranks.gather(Representation(rows, torch.ones(len(rows), dtype=torch.int64))).values_TD
