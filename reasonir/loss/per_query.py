"""Layout of a step's pairs as one row per query, for objectives over lists of documents.

Shape letters: P pairs, Q queries, G the most pairs of a query.
"""

from __future__ import annotations

import torch
from torch import Tensor


def by_query(query_P: Tensor, *values_P: Tensor) -> tuple[Tensor, ...]:
    """Return (inside_QG, values_QG, ...): the pairs of each query in a row, in their order; 0 outside.

    Args:
        query_P: query of each pair; the pairs of a query are consecutive.
        values_P: values to lay out.
    """
    _, row_P, counts_Q = torch.unique_consecutive(query_P, return_inverse=True, return_counts=True)
    column_P = torch.arange(query_P.numel(), device=query_P.device) - (counts_Q.cumsum(0) - counts_Q)[row_P]
    shape = (counts_Q.numel(), int(counts_Q.max()))
    inside_QG = torch.zeros(shape, dtype=torch.bool, device=query_P.device)
    inside_QG[row_P, column_P] = True
    return inside_QG, *(value_P.new_zeros(shape).index_put((row_P, column_P), value_P) for value_P in values_P)


def ordered_pairs(inside_QG: Tensor, target_QG: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (query, better, worse): all pairs of documents of a query whose targets differ."""
    above_QGG = target_QG[:, :, None] > target_QG[:, None, :]
    query, better, worse = torch.where(above_QGG & inside_QG[:, :, None] & inside_QG[:, None, :])
    return query, better, worse
