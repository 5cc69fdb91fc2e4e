"""FLOPS regulariser of sparse vectors (Paria et al. 2020, arXiv:2004.05665): few terms, spread over the vocabulary.

The sum over terms of the squared mean weight stands smoothly for the terms that two texts share, an inverted index's
multiplications. Queries and documents have weights of their own, since a query's terms decide the time of a search and
a document's the size of the index; both rise with the square of the batch number until the warm-up ends, as in SPLADE
(arXiv:2107.05720), so that expansions are learnt before they are pruned.

Shape letters: N texts of all devices, V terms of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from reasonir.loss.base import RetrievalOutputs, RetrieverObjective
from reasonir.loss.vectors import both_sides
from reasonir.utils.ranges import NonNegative, NonNegativeFloat


@dataclass(frozen=True, slots=True)
class Flops(RetrieverObjective):
    """Weighted sum of the squared mean weights of both sides' terms; for sparse heads.

    Attributes:
        queries: weight of the queries' value.
        documents: weight of the documents' value.
        warmup: batches until the weights are whole.
    """

    queries: NonNegativeFloat = 0.01
    documents: NonNegativeFloat = 0.01
    warmup: NonNegative = 0
    sparse: ClassVar[bool | None] = True
    vectors_only: ClassVar[bool] = True

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the loss, the value of both sides, and how many terms their texts have in the mean."""
        share = min(1.0, (outputs.step + 1) / (self.warmup + 1)) ** 2
        queries_NV, documents_NV = both_sides(outputs)
        queries, documents = (weights_NV.mean(0).square().sum() for weights_NV in (queries_NV, documents_NV))
        return {
            "loss": share * (self.queries * queries + self.documents * documents),
            "flops_queries": queries.detach(),
            "flops_documents": documents.detach(),
            "query_terms": _terms(queries_NV),
            "document_terms": _terms(documents_NV),
        }


def _terms(weights_NV: Tensor) -> Tensor:
    return (weights_NV.detach() > 0).sum(1).float().mean()
