"""An encoder that takes note of what it reads: how much of the texts was cut off, and, in a store, what came out.

An index searches with it as with the encoder itself and finds the same numbers.
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

MUCH = 0.05
"""The share of queries that are cut from which on a warning is due."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How many texts there were, how many of them were cut, the tokens that were read and those that were lost."""

    texts: int = 0
    cut: int = 0
    tokens: int = 0
    lost: int = 0

    @property
    def share(self) -> float:
        """The share of the texts that were cut."""
        return self.cut / max(1, self.texts)

    def __add__(self, other: Cut) -> Cut:
        return Cut(self.texts + other.texts, self.cut + other.cut, self.tokens + other.tokens, self.lost + other.lost)


@dataclass(frozen=True, slots=True)
class Piece:
    """Texts that are encoded together."""

    texts: list[Text]
    side: Side
    budget: int

    def read(self, encoder: Encoder) -> Block:
        """What the encoder makes of them."""
        tokens = encoder.head.tokenizer(self.texts, self.side)
        watch = partial(part_of_it, size=torch.numel)
        return Block(encoder.represent(tokens, budget=self.budget, watch=watch), tokens.lengths_N, tokens.lost_N)


class EncoderBackend(Protocol):
    """Who encodes."""

    def read(self, encoder: Encoder, pieces: Iterable[Piece | Block]) -> Iterator[Block]:
        """The block of every piece, in their order; blocks among them come back as they are."""


class LocalBackend:
    """This process alone."""

    def read(self, encoder: Encoder, pieces: Iterable[Piece | Block]) -> Iterator[Block]:
        """One after the other."""
        return (each if isinstance(each, Block) else each.read(encoder) for each in pieces)


LOCAL = LocalBackend()


@dataclass(slots=True)
class CachingEncoder:
    """Encodes with `encoder`; see `Embedder`.

    Attributes:
        encoder: the model.
        store: where finished blocks go and are looked for first.
        dtype: the type that vectors are rounded to, stored or not; they are computed with in float32.
        documents: what was cut of the documents read so far.
        queries: what was cut of each query read so far.
        pairs: what was cut of the pairs scored so far.
        pair_queries: how much of that their queries lost.
        workers: who encodes what the store doesn't have.
    """

    encoder: Encoder
    store: Store = field(default_factory=NoStore)
    dtype: torch.dtype = torch.float32
    documents: Cut = field(default_factory=Cut)
    queries: dict[Text, Cut] = field(default_factory=dict)
    pairs: Cut = field(default_factory=Cut)
    pair_queries: Cut = field(default_factory=Cut)
    workers: EncoderBackend = LOCAL

    @property
    def head(self) -> Any:
        """The model's."""
        return self.encoder.head

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.encoder.device

    def score_pairs(self, pairs: Sequence[Pair]) -> Tensor:
        """See `Encoder.score_pairs`."""
        return self.encoder.score_pairs(pairs, note=self.note_pairs)

    def note_pairs(self, tokens: Tokens) -> None:
        """Count what was cut of pairs."""
        read, lost_N, query_N = int(tokens.lengths_N.sum()), tokens.lost_N, tokens.lost_query_N
        self.pairs += Cut(len(tokens), int((lost_N > 0).sum()), read, int(lost_N.sum()))
        self.pair_queries += Cut(len(tokens), int((query_N > 0).sum()), 0, int(query_N.sum()))

    def encode(self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS) -> Representation:
        """See `Embedder`."""
        return Representation.join([part for _, part in self.stream(texts, side, budget=budget)])

    def stream(
        self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS
    ) -> Iterator[tuple[slice, Representation]]:
        """See `Embedder`."""
        for place, chosen, block in progress(
            self._blocks(texts, side, budget),
            f"Encoding {'queries' if side == 'query' else 'documents'}",
            total=len(texts),
            size=lambda item: len(item[1]),
        ):
            self._note(chosen, side, block)
            yield place, block.representation.to(device=self.encoder.device)

    def _blocks(self, texts: Sequence[Text], side: Side, budget: int) -> Iterator[tuple[slice, list[Text], Block]]:
        asked: deque[tuple[slice, list[Text], str, bool]] = deque()

        def pieces() -> Iterator[Piece | Block]:
            for place, chosen in blocks(texts):
                key = key_of(chosen, side, budget)
                stored = self.store.load(key)
                asked.append((place, chosen, key, stored is None))
                yield Piece(chosen, side, budget) if stored is None else stored

        for found in self.workers.read(self.encoder, pieces()):
            place, chosen, key, new = asked.popleft()
            block = self._rounded(found) if new else found
            if new:
                self.store.save(key, block)
            yield place, chosen, block

    def _rounded(self, block: Block) -> Block:
        found = block.representation.to(dtype=self.dtype).to(dtype=torch.float32)
        return replace(block, representation=found)

    def _note(self, texts: Sequence[Text], side: Side, block: Block) -> None:
        if side == "document":
            cut, lost = int((block.lost_N > 0).sum()), int(block.lost_N.sum())
            self.documents += Cut(len(texts), cut, int(block.tokens_N.sum()), lost)
            return
        for text, tokens, lost in zip(texts, block.tokens_N.tolist(), block.lost_N.tolist(), strict=True):
            self.queries[text] = Cut(1, int(lost > 0), tokens, lost)
