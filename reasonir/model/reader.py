"""An encoder that takes note of what it reads: how much of the texts was cut off, and, in a store, what came out.

An index searches with it as with the encoder itself and finds the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from reasonir.data.progress import progress
from reasonir.model.encoder import ENCODE_TOKENS, Encoder, blocks
from reasonir.model.store import Block, NoStore, Store, key_of
from reasonir.types import Representation, Side, Text


@dataclass(frozen=True, slots=True)
class Cut:
    """How many texts there were, how many of them were cut, the tokens that were read and those that were lost."""

    texts: int = 0
    cut: int = 0
    tokens: int = 0
    lost: int = 0

    def __add__(self, other: Cut) -> Cut:
        return Cut(self.texts + other.texts, self.cut + other.cut, self.tokens + other.tokens, self.lost + other.lost)


@dataclass(slots=True)
class Reader:
    """Encodes with `encoder`; see `Embedder`.

    Attributes:
        encoder: the model.
        store: where finished blocks go and are looked for first.
        dtype: the type that vectors are rounded to, stored or not; they are computed with in float32.
        documents: what was cut of the documents read so far.
        queries: what was cut of each query read so far.
    """

    encoder: Encoder
    store: Store = field(default_factory=NoStore)
    dtype: torch.dtype = torch.float32
    documents: Cut = field(default_factory=Cut)
    queries: dict[Text, Cut] = field(default_factory=dict)

    @property
    def head(self) -> Any:
        """The model's."""
        return self.encoder.head

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.encoder.device

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
        for place, chosen in blocks(texts):
            key = key_of(chosen, side, budget)
            block = self.store.load(key)
            if block is None:
                tokens = self.head.tokenizer(chosen, side)
                watch = partial(progress, what="Of those read together", total=len(chosen), size=torch.numel)
                found = self.encoder.represent(tokens, budget=budget, watch=watch)
                found = found.to(dtype=self.dtype).to(dtype=torch.float32)
                block = Block(found, tokens.lengths_N, tokens.lost_N)
                self.store.save(key, block)
            yield place, chosen, block

    def _note(self, texts: Sequence[Text], side: Side, block: Block) -> None:
        if side == "document":
            cut, lost = int((block.lost_N > 0).sum()), int(block.lost_N.sum())
            self.documents += Cut(len(texts), cut, int(block.tokens_N.sum()), lost)
            return
        for text, tokens, lost in zip(texts, block.tokens_N.tolist(), block.lost_N.tolist(), strict=True):
            self.queries[text] = Cut(1, int(lost > 0), tokens, lost)
