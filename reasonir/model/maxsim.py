"""MaxSim over packed tokens: for every query token its best document token, summed over the query.

score(q, d) = sum_i max_j <q_i, d_j> (Khattab and Zaharia 2020, arXiv:2004.12832). Documents are taken in blocks of
similar length, so that neither the padded documents nor the Q x N x Lq x Ld similarities ever exist at once. Only one
pair of tokens decides each maximum, so the backward pass touches those pairs alone: it gathers and sums rows by the
remembered winners instead of multiplying the dense similarities again.

Shape letters: S query tokens, T document tokens, Q queries, N documents, B documents of a block, L padded length,
D vector size. Ties give the gradient to one of the winners.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from reasonir.types import Representation, micro_batches

CPU_BLOCK = 1 << 21
DEVICE_BLOCK = 1 << 25
"""Similarities held at a time: 8 MiB of float32 stay in a processor's cache, 128 MiB keep an accelerator busy."""

PAIR_BYTES = 44
"""Of a query token and a document, in the backward pass: the winner in 32 and in 64 bits, the gradient's weight, and a
sorted copy of all of them."""

BAGS = ("cpu", "cuda")
"""Device types whose embedding_bag takes weights a row; others sum the rows in portable loops."""


def maxsim(queries: Representation, documents: Representation, *, block_elements: int | None = None) -> Tensor:
    """The MaxSim score of every query with every document, differentiable in both.

    Args:
        queries: Q texts of S vectors in all; every text has at least one.
        documents: N texts of T vectors in all; every text has at least one.
        block_elements: how many similarities may exist at a time; by default what suits the device.

    Returns:
        scores_QN, in the vectors' own type and on their device.
    """
    if block_elements is None:
        block_elements = CPU_BLOCK if queries.values_TD.device.type == "cpu" else DEVICE_BLOCK
    return _MaxSim.apply(  # type: ignore[no-any-return,no-untyped-call]
        queries.values_TD, documents.values_TD, queries.lengths_N, documents.lengths_N, block_elements
    )


def _winners(
    queries_SD: Tensor, documents_TD: Tensor, lengths_N: Tensor, block_elements: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield, a block of documents, (which documents, best_SB, the rows of documents_TD that won_SB)."""
    starts_N = lengths_N.cumsum(0) - lengths_N
    count = max(1, queries_SD.shape[0])
    for block_B in micro_batches(lengths_N, max(1, block_elements // count)):
        width = int(lengths_N[block_B].max())
        column_L = torch.arange(width)
        # A place beyond the end repeats the document's first vector: it can win only what that vector wins anyway.
        offset_BL = torch.where(column_L < lengths_N[block_B, None], column_L, 0)
        rows_BL = (starts_N[block_B, None] + offset_BL).to(documents_TD.device, non_blocking=True)
        tokens_MD = documents_TD.index_select(0, rows_BL.flatten())
        step = max(1, block_elements // rows_BL.numel())
        best, won = [], []
        for part_SD in torch.split(queries_SD, step):
            similarity_SBL = (part_SD @ tokens_MD.T).view(-1, *rows_BL.shape)
            best_SB, place_SB = similarity_SBL.max(dim=-1)
            best.append(best_SB)
            won.append(rows_BL.gather(1, place_SB.T).T)
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
        remember = any(ctx.needs_input_grad[:2])
        winner_SN = (
            torch.empty(queries_SD.shape[0], document_lengths_N.numel(), dtype=torch.int32, device=queries_SD.device)
            if remember
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
        return scores_QN

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries_SD, documents_TD, query_of_S, winner_SN = ctx.saved_tensors
        weight_SN = grads[0].index_select(0, query_of_S)
        winner_SN = winner_SN.to(torch.int64)
        grad_queries = grad_documents = None
        if ctx.needs_input_grad[0]:
            grad_queries = _weighted_rows(documents_TD, winner_SN, weight_SN)
        if ctx.needs_input_grad[1]:
            order = winner_SN.flatten().argsort(stable=True)
            token = torch.div(order, winner_SN.shape[1], rounding_mode="floor")
            counts_T = torch.bincount(winner_SN.flatten(), minlength=documents_TD.shape[0])
            grad_documents = _weighted_groups(queries_SD, token, weight_SN.flatten()[order], counts_T)
        return grad_queries, grad_documents, None, None, None


def _weighted_rows(rows_TD: Tensor, index_SN: Tensor, weight_SN: Tensor) -> Tensor:
    """Sum over n of weight[s, n] * rows[index[s, n]], without the S x N x D tensor."""
    if rows_TD.device.type in BAGS:
        return embedding_bag(index_SN, rows_TD, per_sample_weights=weight_SN, mode="sum")
    total_SD = rows_TD.new_zeros(index_SN.shape[0], rows_TD.shape[1])
    for index_S, weight_S in zip(index_SN.T, weight_SN.T, strict=True):
        total_SD.addcmul_(rows_TD.index_select(0, index_S), weight_S[:, None])
    return total_SD


def _weighted_groups(rows_SD: Tensor, index_M: Tensor, weight_M: Tensor, counts_T: Tensor) -> Tensor:
    """Sum of weight[m] * rows[index[m]] over consecutive groups of counts_T members each."""
    if rows_SD.device.type in BAGS:
        offsets_T = counts_T.cumsum(0) - counts_T
        return embedding_bag(index_M, rows_SD, offsets_T, per_sample_weights=weight_M, mode="sum")
    total_TD = rows_SD.new_zeros(counts_T.numel(), rows_SD.shape[1])
    group_M = torch.repeat_interleave(counts_T)
    for part in torch.split(torch.arange(index_M.numel(), device=index_M.device), 1 << 16):
        total_TD.index_add_(0, group_M[part], rows_SD.index_select(0, index_M[part]) * weight_M[part, None])
    return total_TD
