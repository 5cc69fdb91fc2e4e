"""Tensors of a training or encoding step: tokenised texts, batches and representations.

Ragged things are packed: all rows of all texts after each other, plus a length per text.

Shape letters: T rows (tokens or vectors) of all texts, N texts or documents, M a selection of N, Q queries, L padded
length, D vector size, P query-document pairs, K known relations.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import NamedTuple

import torch
from torch import Tensor


class Packing(NamedTuple):
    """Where the tokens of a rectangle stand when its texts follow each other in one row.

    place_T is the flat (N*L) position of every token, position_T its number within its text; starts_M counts the
    tokens before each text and, last, all of them (int32); longest is the longest text.
    """

    place_T: Tensor
    position_T: Tensor
    starts_M: Tensor
    longest: int

    def to(self, device: torch.device) -> Packing:
        """The same on `device`; copies don't wait for the device."""
        place_T, position_T, starts_M = (_sent(part, device) for part in (self.place_T, self.position_T, self.starts_M))
        return Packing(place_T, position_T, starts_M, self.longest)


class Padded(NamedTuple):
    """A micro-batch on its way through the backbone: rectangular, with the places that give vectors listed.

    ids_NL and attend_NL pad on the right; rows_T indexes the flattened (N*L) positions whose vectors are kept, text
    by text; last_N is the flat position of each text's last token; full says that no position is masked. Where the
    backbone can do without the padding, `packing` says how.
    """

    ids_NL: Tensor
    attend_NL: Tensor
    rows_T: Tensor
    last_N: Tensor
    full: bool
    packing: Packing | None = None

    @property
    def tokens(self) -> int:
        """How many positions the backbone computes."""
        return self.ids_NL.numel() if self.packing is None else self.packing.place_T.numel()

    def to(self, device: torch.device) -> Padded:
        """The same micro-batch on `device`; copies don't wait for the device."""
        return Padded(
            _sent(self.ids_NL, device),
            _sent(self.attend_NL, device),
            _sent(self.rows_T, device),
            _sent(self.last_N, device),
            self.full,
            None if self.packing is None else self.packing.to(device),
        )


def _sent(part: Tensor, device: torch.device) -> Tensor:
    """A copy on `device`; to CUDA from pinned memory, without which the copy would wait for it."""
    if device.type == "cuda" and part.device.type == "cpu":
        part = part.pin_memory()
    return part.to(device, non_blocking=True)


def ragged_rows(lengths_N: Tensor, order_M: Tensor) -> Tensor:
    """The packed rows of the texts `order_M`, in that order: an index for the packed axis.

    >>> ragged_rows(torch.tensor([2, 1, 3]), torch.tensor([2, 0]))
    tensor([3, 4, 5, 0, 1])
    """
    starts_M = (lengths_N.cumsum(0) - lengths_N)[order_M]
    lengths_M = lengths_N[order_M]
    shift_M = starts_M - (lengths_M.cumsum(0) - lengths_M)
    return torch.repeat_interleave(shift_M, lengths_M) + torch.arange(int(lengths_M.sum()))


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokenised texts without padding.

    ids_T are token ids; attend_T says which tokens the others may attend to (ColBERT's query expansion tokens are
    not attended to); keep_T which tokens give a vector (ColBERT skips punctuation); lengths_N counts tokens, lost_N
    those that were cut off, and lost_query_N how many of these a pair's query lost.
    """

    ids_T: Tensor
    attend_T: Tensor
    keep_T: Tensor
    lengths_N: Tensor
    lost_N: Tensor
    lost_query_N: Tensor

    def __len__(self) -> int:
        return self.lengths_N.numel()

    @classmethod
    def pack(
        cls,
        rows: Sequence[tuple[Sequence[int], Sequence[bool], Sequence[bool]]],
        lost: Sequence[int] | None = None,
        lost_query: Sequence[int] | None = None,
    ) -> Tokens:
        """Pack one (ids, attend, keep) per text, and how many tokens each lost (None: none did)."""
        ids, attend, keep = zip(*rows, strict=True)
        none = [0] * len(rows)
        return cls(
            torch.tensor(list(chain.from_iterable(ids)), dtype=torch.int32),
            torch.tensor(list(chain.from_iterable(attend)), dtype=torch.bool),
            torch.tensor(list(chain.from_iterable(keep)), dtype=torch.bool),
            torch.tensor([len(row) for row in ids], dtype=torch.int64),
            torch.tensor(lost or none, dtype=torch.int64),
            torch.tensor(lost_query or none, dtype=torch.int64),
        )

    @property
    def kept_N(self) -> Tensor:  # noqa: N802
        """How many tokens of each text give a vector."""
        text_T = torch.repeat_interleave(self.lengths_N)
        return torch.zeros_like(self.lengths_N).index_add_(0, text_T, self.keep_T.long())

    def join(self, other: Tokens) -> Tokens:
        """These texts followed by `other`."""
        return Tokens(
            torch.cat([self.ids_T, other.ids_T]),
            torch.cat([self.attend_T, other.attend_T]),
            torch.cat([self.keep_T, other.keep_T]),
            torch.cat([self.lengths_N, other.lengths_N]),
            torch.cat([self.lost_N, other.lost_N]),
            torch.cat([self.lost_query_N, other.lost_query_N]),
        )

    def pad(self, chosen_M: Tensor, *, packs: bool = False) -> Padded:
        """The texts `chosen_M` as one rectangle, padded on the right with token 0.

        With `packs` it also says how to leave the padding out, unless there is none or some token isn't attended to.
        """
        lengths_M = self.lengths_N[chosen_M]
        width = int(lengths_M.max())
        inside_ML = torch.arange(width) < lengths_M[:, None]
        rows = ragged_rows(self.lengths_N, chosen_M)
        ids_ML = torch.zeros(inside_ML.shape, dtype=torch.int64)
        ids_ML[inside_ML] = self.ids_T[rows].to(torch.int64)
        attend_ML = torch.zeros_like(inside_ML)
        attend_ML[inside_ML] = self.attend_T[rows]
        keep_ML = torch.zeros_like(inside_ML)
        keep_ML[inside_ML] = self.keep_T[rows]
        last_M = torch.arange(lengths_M.numel()) * width + lengths_M - 1
        full = bool(attend_ML.all())
        packing = None
        if packs and not full and torch.equal(attend_ML, inside_ML):
            place_T = inside_ML.flatten().nonzero().squeeze(1)
            starts_M = torch.cat([lengths_M.new_zeros(1), lengths_M.cumsum(0)]).to(torch.int32)
            packing = Packing(place_T, place_T % width, starts_M, width)
        return Padded(ids_ML, attend_ML, keep_ML.flatten().nonzero().squeeze(1), last_M, full, packing)


@dataclass(frozen=True, slots=True)
class Relation:
    """What is known between the queries and the distinct documents of a batch.

    Pairs (query_P, document_P, label_P) are what the batch was built from, teachers_P what other models make of them.
    Every document carries a 64-bit key of its content; known_K lists, for the query known_query_K, the keys of all
    documents known to be relevant to it or equal to it, in the batch or not: on whatever device such a document turns
    up, it isn't that query's negative.
    """

    query_P: Tensor
    document_P: Tensor
    label_P: Tensor
    teachers_P: Mapping[str, Tensor]
    key_N: Tensor
    known_query_K: Tensor
    known_K: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's queries and documents, each distinct document once, and their relation.

    `step` counts the batches of the whole run from 0: what is random in a step is a function of it.
    """

    step: int
    queries: Tokens
    documents: Tokens
    relation: Relation

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def tokens(self) -> Tokens:
        """Everything that is encoded: the queries, then the documents."""
        return self.queries.join(self.documents)

    @property
    def token_count(self) -> int:
        """How many tokens that is."""
        return self.queries.ids_T.numel() + self.documents.ids_T.numel()


@dataclass(frozen=True, slots=True)
class PairBatch:
    """One step's pairs for a head that reads query and document together, those of a query after each other.

    query_P numbers the queries from 0. token_label_T holds, for every token that a pruner judges, 1 where it belongs to
    a relevant span, 0 where to another one, and NaN where nothing is known; for other heads it is empty.
    """

    step: int
    tokens: Tokens
    query_P: Tensor
    label_P: Tensor
    teachers_P: Mapping[str, Tensor]
    token_label_T: Tensor

    def __len__(self) -> int:
        return int(self.query_P[-1]) + 1

    @property
    def token_count(self) -> int:
        """How many tokens are encoded."""
        return self.tokens.ids_T.numel()


@dataclass(frozen=True, slots=True)
class Representation:
    """What a model makes of texts: values_TD packed, lengths_N rows a text (one for a single-vector model)."""

    values_TD: Tensor
    lengths_N: Tensor

    def __len__(self) -> int:
        return self.lengths_N.numel()

    @classmethod
    def join(cls, parts: Sequence[Representation]) -> Representation:
        """The parts after each other."""
        return cls(torch.cat([part.values_TD for part in parts]), torch.cat([part.lengths_N for part in parts]))

    def take(self, order_M: Tensor) -> Representation:
        """The texts `order_M`, in that order; differentiable."""
        rows = ragged_rows(self.lengths_N, order_M).to(self.values_TD.device, non_blocking=True)
        return Representation(self.values_TD.index_select(0, rows), self.lengths_N[order_M])

    def split(self, count: int) -> tuple[Representation, Representation]:
        """The first `count` texts and the rest."""
        rows = int(self.lengths_N[:count].sum())
        return (
            Representation(self.values_TD[:rows], self.lengths_N[:count]),
            Representation(self.values_TD[rows:], self.lengths_N[count:]),
        )

    def to(self, *, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Representation:
        """The same on another device or in another type; lengths stay on the CPU."""
        return replace(self, values_TD=self.values_TD.to(device=device, dtype=dtype))


def micro_batches(lengths_N: Tensor, tokens: int, *, stretch: int = 1) -> Iterator[Tensor]:
    """Cut texts, longest first, into groups whose padded area (texts x longest) stays within `tokens`.

    Sorting all texts of a step together leaves almost no padding whatever the mix of lengths; a text longer than
    `tokens` is a group by itself. For a backbone that computes no padding the area may be `stretch` times as large, as
    long as the texts' own tokens stay within `tokens`.
    """
    order = torch.argsort(lengths_N, descending=True, stable=True)
    sorted_lengths = lengths_N[order].tolist()
    start = 0
    while start < len(sorted_lengths):
        area = stretch * tokens // max(1, sorted_lengths[start])
        used = list(accumulate(sorted_lengths[start : start + area]))
        count = max(1, bisect_right(used, tokens))
        yield order[start : start + count]
        start += count
