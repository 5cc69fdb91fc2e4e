"""Encoder wrapper that counts truncation and caches embeddings.

Indexes use it in place of the encoder and get the same embeddings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from reasonir.data.batch import Representation, Tokens
from reasonir.model.embedding_cache import Block, NoStore, Store, key_of
from reasonir.model.encoder import ENCODE_TOKENS, Encoder, blocks
from reasonir.types import Pair, Side, Text
from reasonir.utils.progress import part_of_it, progress

MAX_CUT = 0.05
"""Share of truncated queries above which a warning is logged."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Truncation counts.

    Attributes:
        texts: number of texts.
        cut: texts that were truncated.
        tokens: tokens read.
        lost: tokens cut off.
    """

    texts: int = 0
    cut: int = 0
    tokens: int = 0
    lost: int = 0

    @property
    def share(self) -> float:
        """Share of the texts that were truncated."""
        return self.cut / max(1, self.texts)

    def __add__(self, other: Cut) -> Cut:
        return Cut(self.texts + other.texts, self.cut + other.cut, self.tokens + other.tokens, self.lost + other.lost)


@dataclass(frozen=True, slots=True)
class Piece:
    """Block of texts to be encoded."""

    texts: list[Text]
    side: Side
    budget: int

    def read(self, encoder: Encoder) -> Block:
        """Encode the texts."""
        tokens = encoder.head.tokenizer(self.texts, self.side)
        watch = partial(part_of_it, size=torch.numel)
        return Block(encoder.represent(tokens, budget=self.budget, watch=watch), tokens.lengths_N, tokens.lost_N)


class EncoderBackend(Protocol):
    """Encodes blocks of texts, in this process or on several ranks."""

    def read(self, encoder: Encoder, pieces: Iterable[Piece | Block]) -> Iterator[Block]:
        """Yield the encoded block of every piece, in order; blocks in `pieces` are passed through."""


class LocalBackend:
    """Encodes in this process."""

    def read(self, encoder: Encoder, pieces: Iterable[Piece | Block]) -> Iterator[Block]:
        """Yield the blocks one after the other."""
        return (piece if isinstance(piece, Block) else piece.read(encoder) for piece in pieces)


LOCAL = LocalBackend()


@dataclass(slots=True)
class CachingEncoder:
    """Encodes with `encoder`; see `Embedder`.

    Attributes:
        encoder: the model.
        store: cache of encoded blocks.
        dtype: precision that embeddings are rounded to, cached or not; they are computed with in float32.
        documents: truncation of the documents so far.
        queries: truncation of each query so far.
        pairs: truncation of the pairs scored so far.
        pair_queries: truncation of their queries.
        backend: encodes what isn't cached.
    """

    encoder: Encoder
    store: Store = field(default_factory=NoStore)
    dtype: torch.dtype = torch.float32
    documents: Cut = field(default_factory=Cut)
    queries: dict[Text, Cut] = field(default_factory=dict)
    pairs: Cut = field(default_factory=Cut)
    pair_queries: Cut = field(default_factory=Cut)
    backend: EncoderBackend = LOCAL

    @property
    def head(self) -> Any:
        """The encoder's head."""
        return self.encoder.head

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.encoder.device

    def score_pairs(self, pairs: Sequence[Pair]) -> Tensor:
        """See `Encoder.score_pairs`."""
        return self.encoder.score_pairs(pairs, record=self.record_pairs)

    def record_pairs(self, tokens: Tokens) -> None:
        """Count the truncation of pairs."""
        read, lost_N, query_N = int(tokens.lengths_N.sum()), tokens.lost_N, tokens.lost_query_N
        self.pairs += Cut(len(tokens), int((lost_N > 0).sum()), read, int(lost_N.sum()))
        self.pair_queries += Cut(len(tokens), int((query_N > 0).sum()), 0, int(query_N.sum()))

    def encode(self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS) -> Representation:
        """See `Embedder`."""
        if not texts:
            return self.encoder.encode(texts, side)
        return Representation.join([part for _, part in self.stream(texts, side, budget=budget)])

    def stream(
        self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS
    ) -> Iterator[tuple[slice, Representation]]:
        """See `Embedder`."""
        for block_slice, chunk, block in progress(
            self._blocks(texts, side, budget),
            f"Encoding {'queries' if side == 'query' else 'documents'}",
            total=len(texts),
            size=lambda item: len(item[1]),
        ):
            self._record(chunk, side, block)
            yield block_slice, block.representation.to(device=self.encoder.device)

    def _blocks(self, texts: Sequence[Text], side: Side, budget: int) -> Iterator[tuple[slice, list[Text], Block]]:
        pending: deque[tuple[slice, list[Text], str, bool]] = deque()

        def pieces() -> Iterator[Piece | Block]:
            for block_slice, chunk in blocks(texts):
                key = key_of(chunk, side, budget)
                stored = self.store.load(key)
                pending.append((block_slice, chunk, key, stored is None))
                yield Piece(chunk, side, budget) if stored is None else stored

        for encoded in self.backend.read(self.encoder, pieces()):
            block_slice, chunk, key, new = pending.popleft()
            block = self._rounded(encoded) if new else encoded
            if new:
                self.store.save(key, block)
            yield block_slice, chunk, block

    def _rounded(self, block: Block) -> Block:
        encoded = block.representation.to(dtype=self.dtype).to(dtype=torch.float32)
        return replace(block, representation=encoded)

    def _record(self, texts: Sequence[Text], side: Side, block: Block) -> None:
        if side == "document":
            cut, lost = int((block.lost_N > 0).sum()), int(block.lost_N.sum())
            self.documents += Cut(len(texts), cut, int(block.tokens_N.sum()), lost)
            return
        for text, tokens, lost in zip(texts, block.tokens_N.tolist(), block.lost_N.tolist(), strict=True):
            self.queries[text] = Cut(1, int(lost > 0), tokens, lost)
