"""MaxSim over packed tokens: the best document token of every query token, summed over the query.

score(q, d) = sum_i max_j <q_i, d_j> (Khattab and Zaharia 2020, arXiv:2004.12832). Documents are processed in blocks of
similar length, so that neither the padded documents nor the Q x N x Lq x Ld similarities ever exist at once. Only one
pair of tokens decides each maximum, so the backward pass touches those pairs alone: it gathers and sums rows by the
stored winners instead of multiplying the dense similarities again.

Shape letters: S query tokens, T document tokens, Q queries, N documents, B documents of a block, L padded length, D
vector size, M pairs of a query token and its winner. Ties give the gradient to one of the winners.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from reasonir.data.batch import Representation, micro_batches
from reasonir.utils.devices import kind_of

CPU_BLOCK = 1 << 21
DEVICE_BLOCK = 1 << 25
"""Similarities computed at a time: 8 MiB of float32 stay in a CPU's cache, 128 MiB keep a GPU busy."""

WINNER_BYTES = 4
"""Bytes stored per query token and document for the backward pass: the row of the winner."""

BACKWARD_PAIRS = 1 << 22
BACKWARD_BYTES = 44
"""Pairs summed at a time in the backward pass, and bytes per pair: the 64-bit winner, its weight, and both sorted."""

BAGS = ("cpu", "cuda")
"""Device types whose embedding_bag supports weights per row; others use portable loops."""


def maxsim(queries: Representation, documents: Representation, *, block_elements: int | None = None) -> Tensor:
    """Return the MaxSim score of every query with every document, differentiable in both.

    Args:
        queries: Q texts of S vectors in all; every text has at least one.
        documents: N texts of T vectors in all; every text has at least one.
        block_elements: maximum number of similarities at a time; by default chosen for the device.

    Returns:
        scores_QN, in the vectors' own type and on their device.
    """
    if block_elements is None:
        block_elements = CPU_BLOCK if kind_of(queries.values_TD.device) == "cpu" else DEVICE_BLOCK
    return _MaxSim.apply(  # type: ignore[no-any-return,no-untyped-call]
        queries.values_TD, documents.values_TD, queries.lengths_N, documents.lengths_N, block_elements
    )


def _winners(
    queries_SD: Tensor, documents_TD: Tensor, lengths_N: Tensor, block_elements: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield for each block of documents (block_B, best_SB, won_SB): documents, scores and rows of documents_TD."""
    starts_N = lengths_N.cumsum(0) - lengths_N
    count = max(1, queries_SD.shape[0])
    for block_B in micro_batches(lengths_N, max(1, block_elements // count)):
        width = int(lengths_N[block_B].max())
        column_L = torch.arange(width)
        # A position beyond the end repeats the document's first vector, which can't change the maximum.
        offset_BL = torch.where(column_L < lengths_N[block_B, None], column_L, 0)
        rows_BL = (starts_N[block_B, None] + offset_BL).to(documents_TD.device, non_blocking=True)
        tokens_MD = documents_TD.index_select(0, rows_BL.flatten())
        step = max(1, block_elements // rows_BL.numel())
        best, won = [], []
        for part_SD in torch.split(queries_SD, step):
            similarity_SBL = (part_SD @ tokens_MD.T).view(-1, *rows_BL.shape)
            best_SB, column_SB = similarity_SBL.max(dim=-1)
            best.append(best_SB.to(queries_SD.dtype))  # mixed precision multiplies in 16 bits
            won.append(rows_BL.gather(1, column_SB.T).T)
        yield block_B, torch.cat(best), torch.cat(won)


class _MaxSim(torch.autograd.Function):
    """scores_QN with a backward pass over the winning pairs only."""

    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any,
        queries_SD: Tensor,
        documents_TD: Tensor,
        query_lengths_Q: Tensor,
        document_lengths_N: Tensor,
        block_elements: int,
    ) -> Tensor:
        query_of_S = torch.repeat_interleave(query_lengths_Q).to(queries_SD.device, non_blocking=True)
        scores_QN = queries_SD.new_zeros(query_lengths_Q.numel(), document_lengths_N.numel())
        needs_grad = any(ctx.needs_input_grad[:2])
        winner_SN = (
            torch.empty(queries_SD.shape[0], document_lengths_N.numel(), dtype=torch.int32, device=queries_SD.device)
            if needs_grad
            else None
        )
        for block_B, best_SB, won_SB in _winners(queries_SD, documents_TD, document_lengths_N, block_elements):
            columns_B = block_B.to(queries_SD.device, non_blocking=True)
            sums_QB = scores_QN.new_zeros(scores_QN.shape[0], best_SB.shape[1]).index_add_(0, query_of_S, best_SB)
            scores_QN.index_copy_(1, columns_B, sums_QB)
            if winner_SN is not None:
                winner_SN.index_copy_(1, columns_B, won_SB.to(torch.int32))
        if winner_SN is not None:
            ctx.save_for_backward(queries_SD, documents_TD, query_of_S, winner_SN)
            ctx.document_lengths_N = document_lengths_N
        return scores_QN

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries_SD, documents_TD, query_of_S, winner_SN = ctx.saved_tensors
        wants_queries, wants_documents = ctx.needs_input_grad[:2]
        grad_queries = torch.zeros_like(queries_SD) if wants_queries else None
        grad_documents = torch.zeros_like(documents_TD) if wants_documents else None
        ends = [0, *ctx.document_lengths_N.cumsum(0).tolist()]
        step = max(1, BACKWARD_PAIRS // max(1, queries_SD.shape[0]))
        for start in range(0, winner_SN.shape[1], step):
            winner_SB = winner_SN[:, start : start + step].to(torch.int64)
            weight_SB = grads[0][:, start : start + step].index_select(0, query_of_S)
            if grad_queries is not None:
                grad_queries += _weighted_rows(documents_TD, winner_SB, weight_SB)
            if grad_documents is not None:
                rows = slice(ends[start], ends[start + winner_SB.shape[1]])
                sorted_M, order_M = winner_SB.flatten().sort(stable=True)
                token_M = torch.div(order_M, winner_SB.shape[1], rounding_mode="floor")
                first_T = torch.searchsorted(sorted_M, torch.arange(rows.start, rows.stop, device=sorted_M.device))
                grad_documents[rows] = _weighted_groups(queries_SD, token_M, weight_SB.flatten()[order_M], first_T)
        return grad_queries, grad_documents, None, None, None


def _weighted_rows(rows_TD: Tensor, index_SN: Tensor, weight_SN: Tensor) -> Tensor:
    """Return the sum over n of weight[s, n] * rows[index[s, n]], without the S x N x D tensor."""
    if kind_of(rows_TD.device) in BAGS:
        return embedding_bag(index_SN, rows_TD, per_sample_weights=weight_SN, mode="sum")
    total_SD = rows_TD.new_zeros(index_SN.shape[0], rows_TD.shape[1])
    for index_S, weight_S in zip(index_SN.T, weight_SN.T, strict=True):
        total_SD.addcmul_(rows_TD.index_select(0, index_S), weight_S[:, None])
    return total_SD


def _weighted_groups(rows_SD: Tensor, index_M: Tensor, weight_M: Tensor, first_T: Tensor) -> Tensor:
    """Return the sums of weight[m] * rows[index[m]] over consecutive groups that start at `first_T`."""
    if kind_of(rows_SD.device) in BAGS:
        return embedding_bag(index_M, rows_SD, first_T, per_sample_weights=weight_M, mode="sum")
    total_TD = rows_SD.new_zeros(first_T.numel(), rows_SD.shape[1])
    member_M = torch.arange(index_M.numel(), device=index_M.device)
    group_M = torch.searchsorted(first_T, member_M, right=True) - 1
    for part in torch.split(member_M, 1 << 16):
        total_TD.index_add_(0, group_M[part], rows_SD.index_select(0, index_M[part]) * weight_M[part, None])
    return total_TD
