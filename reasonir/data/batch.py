"""Tensors of a training or encoding step: tokenised texts, batches and representations.

Ragged values are packed: the rows of all texts concatenated, plus a length per text.

Shape letters: T rows (tokens or vectors) of all texts, N texts or documents, M a selection of N, L padded length,
D vector size, P query-document pairs, K known relations.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import NamedTuple

import torch
from torch import Tensor

from reasonir.utils.devices import kind_of


class Packing(NamedTuple):
    """Token positions of a padded micro-batch whose texts are concatenated without the padding.

    flat_T is the flat (N*L) position of every token, position_T its index within its text; starts_M counts the tokens
    before each text and, last, all of them (int32); longest is the length of the longest text.
    """

    flat_T: Tensor
    position_T: Tensor
    starts_M: Tensor
    longest: int

    def to(self, device: torch.device) -> Packing:
        """Return the packing on `device`; copies don't wait for the device."""
        tensors = (self.flat_T, self.position_T, self.starts_M)
        flat_T, position_T, starts_M = (_to_device(tensor, device) for tensor in tensors)
        return Packing(flat_T, position_T, starts_M, self.longest)


class Padded(NamedTuple):
    """Rectangular micro-batch for the backbone, with the positions whose vectors are kept.

    ids_NL and attend_NL pad on the right; rows_T indexes the flattened (N*L) positions whose vectors are kept, text
    by text, and kept_N counts them, always on the CPU; last_N is the flat position of each text's last token; full
    means that no position is masked, padding_only that none within a text is. `packing` is set where the backbone can
    skip the padding.
    """

    ids_NL: Tensor
    attend_NL: Tensor
    rows_T: Tensor
    kept_N: Tensor
    last_N: Tensor
    full: bool
    padding_only: bool
    packing: Packing | None = None

    @property
    def tokens(self) -> int:
        """Number of positions that the backbone computes."""
        return self.ids_NL.numel() if self.packing is None else self.packing.flat_T.numel()

    def to(self, device: torch.device) -> Padded:
        """Return the micro-batch on `device`; copies don't wait for the device."""
        return Padded(
            _to_device(self.ids_NL, device),
            _to_device(self.attend_NL, device),
            _to_device(self.rows_T, device),
            self.kept_N,
            _to_device(self.last_N, device),
            self.full,
            self.padding_only,
            None if self.packing is None else self.packing.to(device),
        )


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to `device`; to CUDA from pinned memory, without which the copy would wait for the device."""
    if kind_of(device) == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def ragged_rows(lengths_N: Tensor, order_M: Tensor) -> Tensor:
    """Return the packed rows of the texts `order_M`, in that order: an index into the packed axis.

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

    ids_T are token ids; attend_T marks tokens that others may attend to (not ColBERT's query expansion tokens), keep_T
    tokens that give a vector (ColBERT skips punctuation); lengths_N counts tokens, lost_N truncated ones, and
    lost_query_N those of them that belonged to a pair's query.
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
        """Pack one (ids, attend, keep) per text, and the number of truncated tokens of each (None for none)."""
        ids, attend, keep = zip(*rows, strict=True)
        zeros = [0] * len(rows)
        return cls(
            torch.tensor(list(chain.from_iterable(ids)), dtype=torch.int32),
            torch.tensor(list(chain.from_iterable(attend)), dtype=torch.bool),
            torch.tensor(list(chain.from_iterable(keep)), dtype=torch.bool),
            torch.tensor([len(row) for row in ids], dtype=torch.int64),
            torch.tensor(lost or zeros, dtype=torch.int64),
            torch.tensor(lost_query or zeros, dtype=torch.int64),
        )

    @property
    def kept_N(self) -> Tensor:  # noqa: N802
        """Number of tokens of each text that give a vector."""
        text_T = torch.repeat_interleave(self.lengths_N)
        return torch.zeros_like(self.lengths_N).index_add_(0, text_T, self.keep_T.long())

    def join(self, other: Tokens) -> Tokens:
        """Return these texts followed by `other`."""
        return Tokens(
            torch.cat([self.ids_T, other.ids_T]),
            torch.cat([self.attend_T, other.attend_T]),
            torch.cat([self.keep_T, other.keep_T]),
            torch.cat([self.lengths_N, other.lengths_N]),
            torch.cat([self.lost_N, other.lost_N]),
            torch.cat([self.lost_query_N, other.lost_query_N]),
        )

    def pad(self, chosen_M: Tensor, *, packs: bool = False) -> Padded:
        """Return the texts `chosen_M` as one rectangle, padded on the right with token 0.

        `packs` adds a packing, unless there is no padding or some token isn't attended to.
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
        full, padding_only = bool(attend_ML.all()), torch.equal(attend_ML, inside_ML)
        packing = None
        if packs and not full and padding_only:
            flat_T = inside_ML.flatten().nonzero().squeeze(1)
            starts_M = torch.cat([lengths_M.new_zeros(1), lengths_M.cumsum(0)]).to(torch.int32)
            packing = Packing(flat_T, flat_T % width, starts_M, width)
        rows_T = keep_ML.flatten().nonzero().squeeze(1)
        return Padded(ids_ML, attend_ML, rows_T, keep_ML.sum(1), last_M, full, padding_only, packing)


@dataclass(frozen=True, slots=True)
class Relation:
    """Known relations between the queries and the distinct documents of a batch.

    The batch was built from the pairs (query_P, document_P, label_P); teachers_P are their teacher scores. key_N is a
    64-bit key of each document's content, query_key_Q one of each query's tokens. known_K lists, for the query
    known_query_K, the keys of all documents that are relevant or equal to it, in the batch or not: on no device is such
    a document a negative of that query.
    """

    query_P: Tensor
    document_P: Tensor
    label_P: Tensor
    teachers_P: Mapping[str, Tensor]
    key_N: Tensor
    known_query_K: Tensor
    known_K: Tensor
    query_key_Q: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's queries and documents, each distinct document once, and their relation.

    `step` counts the batches of the whole run from 0; everything random in a step is a function of it.
    """

    step: int
    queries: Tokens
    documents: Tokens
    relation: Relation

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def tokens(self) -> Tokens:
        """All texts to encode: the queries, then the documents."""
        return self.queries.join(self.documents)

    @property
    def token_count(self) -> int:
        """Number of tokens to encode."""
        return self.queries.ids_T.numel() + self.documents.ids_T.numel()


@dataclass(frozen=True, slots=True)
class PairBatch:
    """One step's pairs for a head that reads query and document together, grouped by query.

    query_P numbers the queries from 0. token_label_T has an entry per token that a pruner scores: 1 in a relevant span,
    0 in another span, NaN where the label is unknown; it is empty for other heads.
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
        """Number of tokens to encode."""
        return self.tokens.ids_T.numel()


@dataclass(frozen=True, slots=True)
class Representation:
    """Embeddings of texts: values_TD packed, lengths_N rows per text (one for a single-vector model).

    Sparse vectors have a row per weight that isn't 0 (D is 1), and terms_T says which column of the vector it is.
    """

    values_TD: Tensor
    lengths_N: Tensor
    terms_T: Tensor | None = None

    def __len__(self) -> int:
        return self.lengths_N.numel()

    @classmethod
    def join(cls, parts: Sequence[Representation]) -> Representation:
        """Concatenate the parts."""
        terms = [part.terms_T for part in parts if part.terms_T is not None]
        return cls(
            torch.cat([part.values_TD for part in parts]),
            torch.cat([part.lengths_N for part in parts]),
            torch.cat(terms) if terms else None,
        )

    def take(self, order_M: Tensor) -> Representation:
        """Return the texts `order_M`, in that order; differentiable."""
        rows = ragged_rows(self.lengths_N, order_M).to(self.values_TD.device, non_blocking=True)
        terms_T = None if self.terms_T is None else self.terms_T.index_select(0, rows)
        return Representation(self.values_TD.index_select(0, rows), self.lengths_N[order_M], terms_T)

    def split(self, count: int) -> tuple[Representation, Representation]:
        """Return the first `count` texts and the rest."""
        rows = int(self.lengths_N[:count].sum())
        return (
            Representation(self.values_TD[:rows], self.lengths_N[:count]),
            Representation(self.values_TD[rows:], self.lengths_N[count:]),
        )

    def to(self, *, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Representation:
        """Return the embeddings on another device or in another type; lengths stay on the CPU."""
        terms_T = None if self.terms_T is None else self.terms_T.to(device=device)
        return replace(self, values_TD=self.values_TD.to(device=device, dtype=dtype), terms_T=terms_T)


def micro_batches(lengths_N: Tensor, tokens: int, *, stretch: int = 1) -> Iterator[Tensor]:
    """Cut texts, longest first, into groups whose padded area (texts x longest) stays within `tokens`.

    Sorting all texts of a step together leaves almost no padding for any mix of lengths; a text longer than `tokens`
    forms a group alone. For a backbone that skips the padding the area may be `stretch` times as large, as long as the
    number of tokens without padding stays within `tokens`.
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
