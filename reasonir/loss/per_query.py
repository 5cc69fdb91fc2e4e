"""Layout of a step's pairs as one row per query, for objectives over lists of documents.

Shape letters: P pairs, Q queries, G the most pairs of a query.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reasonir.loss.base import PairOutputs


def by_query(outputs: PairOutputs, *values_P: Tensor) -> tuple[Tensor, ...]:
    """Return (inside_QG, values_QG, ...): the pairs of each query in a row, in their order; 0 outside."""
    query_P, (queries, most) = outputs.query_P, outputs.shape_QG
    counts_Q = query_P.new_zeros(queries).index_add_(0, query_P, torch.ones_like(query_P))
    column_P = torch.arange(query_P.numel(), device=query_P.device) - (counts_Q.cumsum(0) - counts_Q)[query_P]
    inside_QG = torch.arange(most, device=query_P.device) < counts_Q[:, None]
    return inside_QG, *(
        value_P.new_zeros(queries, most).index_put((query_P, column_P), value_P) for value_P in values_P
    )


def differences(values_QG: Tensor) -> Tensor:
    """Return the value of each document of a query minus that of each other one (Q, G, G)."""
    return values_QG[:, :, None] - values_QG[:, None, :]


def ordered_pairs(inside_QG: Tensor, target_QG: Tensor) -> Tensor:
    """Return which documents of a query have a higher target than which others (Q, G, G)."""
    return (differences(target_QG) > 0) & inside_QG[:, :, None] & inside_QG[:, None, :]
