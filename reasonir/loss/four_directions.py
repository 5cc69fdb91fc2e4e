"""InfoNCE over four kinds of negatives in one softmax, GTE's improved contrastive loss (arXiv:2308.03281).

The denominator of a relevant pair has its query with all documents, its document with all queries (so the pair counts
twice), its query with other queries, and its document with the documents of other queries. Known false negatives are
left out: a document known to the query, in either place; a query that equals the pair's; and between queries also one
that shares a relevant document with it.

Shape letters: R relevant pairs, Q queries, A queries of all devices, N documents of all devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.loss.base import RetrievalOutputs
from reasonir.loss.cached_contrastive import CachedContrastive, relevant_pairs
from reasonir.loss.symmetric import Queries, document_to_query, gathered


@dataclass(frozen=True, slots=True)
class FourDirections(CachedContrastive):
    """InfoNCE over the negatives of four directions; see `CachedContrastive`."""

    single_vector: ClassVar[bool] = True  # MaxSim of two documents isn't on the scale of a query's with a document

    def normaliser(self, outputs: RetrievalOutputs, logits_RN: Tensor, temperature: float) -> Tensor:
        """See `CachedContrastive.normaliser`."""
        queries = Queries.of(outputs)
        others = (_between_queries(outputs, queries, temperature), _between_documents(outputs, temperature))
        return torch.cat([logits_RN, document_to_query(outputs, queries, temperature), *others], 1).logsumexp(1)


def _between_queries(outputs: RetrievalOutputs, queries: Queries, temperature: float) -> Tensor:
    """Return logits_RA of each relevant pair's query with those that share no relevant document with it."""
    query_R, document_R = relevant_pairs(outputs)
    known_QN, known_AN = ((~negative).float() for negative in (outputs.negative_QN, queries.negative_AN))
    relevant_QN = torch.zeros_like(known_QN).index_put((query_R, document_R), known_QN.new_ones(()))
    relevant_AN = gathered(outputs, relevant_QN)
    shared_QA = known_QN @ relevant_AN.T + relevant_QN @ known_AN.T
    negative_RA = (shared_QA == 0).index_select(0, query_R) & queries.another_RA
    scores_QA = outputs.score(outputs.queries, outputs.ranks.gather(outputs.queries))
    return (scores_QA.index_select(0, query_R) / temperature).masked_fill(~negative_RA, -torch.inf)


def _between_documents(outputs: RetrievalOutputs, temperature: float) -> Tensor:
    """Return logits_RN of each relevant pair's document with other queries' documents that its query doesn't know."""
    query_R, document_R = relevant_pairs(outputs)
    own_QN = torch.zeros_like(outputs.negative_QN).index_put(
        (outputs.query_P, outputs.document_P), outputs.negative_QN.new_ones(())
    )
    negative_RN = (outputs.negative_QN & ~own_QN).index_select(0, query_R)
    values_RD = outputs.documents.values_TD.index_select(0, document_R)
    relevant = Representation(values_RD, torch.ones(len(values_RD), dtype=torch.int64))
    return (outputs.score(relevant, outputs.documents) / temperature).masked_fill(~negative_RN, -torch.inf)
