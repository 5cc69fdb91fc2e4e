"""Baseline without gradient caching: one forward pass per column, no sorting, plain autograd.

Each column is padded to its longest text. ColBERT's scores are dense similarities with masked tokens left out, one
block of documents at a time.

Shape letters: Q queries, N documents, P pairs, T tokens, L padded length, D vector size; i and j in einsum are the L of
queries and of documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils.rnn import pad_sequence

from reasonir.benchmarking.base import Peer, Workload
from reasonir.data.batch import PairBatch, Representation, Tokens
from reasonir.model.encoder import Encoder
from reasonir.types import Side, Text
from reasonir.utils.ranges import Positive, Validated


@dataclass(frozen=True, slots=True)
class UncachedPeer(Peer, Validated):
    """This package's model and losses, without its engine.

    Attributes:
        documents: documents scored at a time against all queries.
    """

    documents: Positive = 64
    heads: ClassVar[frozenset[str]] = frozenset({"colbert", "biencoder", "cross_encoder", "yes_no"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`."""
        encoder = workload.model.load(seed=0).to(workload.device)
        tokenizer = encoder.head.tokenizer
        if encoder.head.reads_pairs:
            batch = workload.batch(tokenizer)
            assert isinstance(batch, PairBatch)
            label_P = batch.label_P.to(workload.device)
            return encoder, lambda: binary_cross_entropy_with_logits(
                encoder.head.scores(_read(encoder, batch.tokens)), label_P
            )
        sides: list[Side] = ["query", *["document" for _ in workload.columns[1:]]]  # type: ignore[list-item]
        columns = [
            tokenizer([Text(text) for text in texts], side) for side, texts in zip(sides, workload.columns, strict=True)
        ]
        return encoder, lambda: self._loss(encoder, columns, workload.temperature)

    def _loss(self, encoder: Encoder, columns: Sequence[Tokens], temperature: float) -> Tensor:
        queries, *documents = (_read(encoder, tokens) for tokens in columns)
        single = encoder.head.single_vector
        scores = [
            block_QN
            for column in documents
            for block_QN in ([queries.values_TD @ column.values_TD.T] if single else self._maxsim(queries, column))
        ]
        target_Q = torch.arange(len(queries), device=queries.values_TD.device)
        return cross_entropy(torch.cat(scores, dim=1).float() / temperature, target_Q)

    def _maxsim(self, queries: Representation, documents: Representation) -> list[Tensor]:
        queries_QLD, query_QL = _pad(queries)
        documents_NLD, document_NL = _pad(documents)
        scores = []
        for start in range(0, len(documents), self.documents):
            block = slice(start, start + self.documents)
            similarity = torch.einsum("qid,njd->qnij", queries_QLD, documents_NLD[block])
            best_QNL = similarity.masked_fill(~document_NL[block][None, :, None], -torch.inf).amax(-1)
            scores.append((best_QNL * query_QL[:, None]).sum(-1))
        return scores


def _read(encoder: Encoder, tokens: Tokens) -> Representation:
    """Encode all texts in one forward pass."""
    padded = tokens.pad(torch.arange(len(tokens))).to(encoder.device)
    return Representation(encoder(padded), encoder.head.vectors(tokens))


def _pad(texts: Representation) -> tuple[Tensor, Tensor]:
    """Return (padded values_NLD, mask_NL)."""
    values_NLD = pad_sequence(list(torch.split(texts.values_TD, texts.lengths_N.tolist())), batch_first=True)
    inside_NL = torch.arange(values_NLD.shape[1]) < texts.lengths_N[:, None]
    return values_NLD, inside_NL.to(values_NLD.device)
