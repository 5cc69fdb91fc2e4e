"""The pairs of a step, a row a query: what objectives over lists of documents look at.

Shape letters: P pairs, Q queries, G the most pairs of a query.
"""

from __future__ import annotations

import torch
from torch import Tensor


def by_query(query_P: Tensor, *values_P: Tensor) -> tuple[Tensor, ...]:
    """(inside_QG, values_QG, ...): each query's pairs in a row, in their order; outside, values are 0.

    Args:
        query_P: the query of each pair, those of a query after each other.
        values_P: what is laid out.
    """
    _, place_P, counts_Q = torch.unique_consecutive(query_P, return_inverse=True, return_counts=True)
    column_P = torch.arange(query_P.numel(), device=query_P.device) - (counts_Q.cumsum(0) - counts_Q)[place_P]
    shape = (counts_Q.numel(), int(counts_Q.max()))
    inside_QG = torch.zeros(shape, dtype=torch.bool, device=query_P.device)
    inside_QG[place_P, column_P] = True
    return inside_QG, *(value_P.new_zeros(shape).index_put((place_P, column_P), value_P) for value_P in values_P)


def ordered_pairs(inside_QG: Tensor, target_QG: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(query, better, worse): every two documents of a query of which the first should score higher."""
    above_QGG = target_QG[:, :, None] > target_QG[:, None, :]
    query, better, worse = torch.where(above_QGG & inside_QG[:, :, None] & inside_QG[:, None, :])
    return query, better, worse
