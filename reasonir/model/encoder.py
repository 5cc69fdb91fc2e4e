"""A backbone with a head: padded tokens in, packed representations out.

The training engine calls `forward` on one micro-batch at a time; `encode` does the same for inference, over texts of
any number, with the same cut by padded area. The backbone is a transformers model (or its LoRA wrapping).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reasonir.types import Padded, Pair, Representation, Side, Text, Tokens, micro_batches

ENCODE_TOKENS = 8192
_READ_TOGETHER = 256
_SORTED_TOGETHER = 4096
_CHARACTERS_TOGETHER = 1 << 22


class Embedder(Protocol):
    """What an index searches with: an `Encoder`, or one that takes note of what it reads."""

    @property
    def head(self) -> Any:
        """Scores representations: a `Retriever`."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def encode(self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS) -> Representation:
        """Representations of `texts`, in their order."""

    def stream(
        self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS
    ) -> Iterator[tuple[slice, Representation]]:
        """Yield (which texts, their representation) block by block, so that no corpus has to fit in memory."""


def blocks(texts: Sequence[Text]) -> Iterator[tuple[slice, list[Text]]]:
    """Cut texts into what is encoded together, in their order: so many texts, or characters when they are long.

    Texts are sorted by length within a block, so a block's numbers depend on it alone and on nothing around it.
    """
    start, characters = 0, 0
    chosen: list[Text] = []
    for place in range(0, len(texts), _READ_TOGETHER):
        for text in texts[place : place + _READ_TOGETHER]:
            chosen.append(text)
            characters += len(text.text)
            if len(chosen) == _SORTED_TOGETHER or characters >= _CHARACTERS_TOGETHER:
                yield slice(start, start + len(chosen)), chosen
                start, characters, chosen = start + len(chosen), 0, []
    if chosen:
        yield slice(start, start + len(chosen)), chosen


class Encoder(nn.Module):
    """Turns texts into representations: `backbone` reads tokens, `head` makes vectors and scores of them."""

    def __init__(self, backbone: nn.Module, head: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        """A `Retriever`, `Reranker` or `Pruner` (reasonir.model.head.base)."""
        self._options = {"use_cache": False} if getattr(backbone.config, "use_cache", None) is not None else {}
        self._inputs: Callable[[Padded], dict[str, Tensor]] = getattr(head, "inputs", lambda _: {})
        """What the backbone reads besides tokens, by heads that have more to say."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, padded: Padded) -> Tensor:
        """values_TD of a micro-batch, text by text, in float32."""
        mask = None if padded.full else padded.attend_NL
        hidden_NLH = self.backbone(
            input_ids=padded.ids_NL, attention_mask=mask, **self._inputs(padded), **self._options
        )[0]
        return self.head(hidden_NLH, padded)  # type: ignore[no-any-return]

    @torch.no_grad()
    def represent(self, tokens: Tokens, *, budget: int = ENCODE_TOKENS) -> Representation:
        """Representations for inference: dropout off, no graph, texts in their given order.

        Args:
            tokens: tokenised texts.
            budget: padded tokens of a micro-batch.
        """
        lengths_N = self.head.vectors(tokens)
        training = self.training
        self.eval()
        try:
            parts, order = [], []
            for chosen_M in micro_batches(tokens.lengths_N, budget):
                values_TD = self(tokens.pad(chosen_M).to(self.device))
                parts.append(Representation(values_TD, lengths_N[chosen_M]))
                order.append(chosen_M)
        finally:
            self.train(training)
        return Representation.join(parts).take(torch.argsort(torch.cat(order)))

    def encode(self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS) -> Representation:
        """Representations of `texts`, in their order."""
        return Representation.join([part for _, part in self.stream(texts, side, budget=budget)])

    def stream(
        self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS
    ) -> Iterator[tuple[slice, Representation]]:
        """Yield (which texts, their representation) block by block, so that no corpus has to fit in memory."""
        for block, chosen in blocks(texts):
            yield block, self.represent(self.head.tokenizer(chosen, side), budget=budget)

    def score_pairs(self, pairs: Sequence[Pair], *, budget: int = ENCODE_TOKENS) -> Tensor:
        """scores_P of a reranker's head, on the CPU."""
        parts = []
        for start in range(0, len(pairs), _SORTED_TOGETHER):
            tokens, _ = self.head.tokenizer(pairs[start : start + _SORTED_TOGETHER])
            parts.append(self.head.scores(self.represent(tokens, budget=budget)))
        return torch.cat(parts).float().cpu() if parts else torch.zeros(0)

    def save(self, folder: Path) -> None:
        """Write the model in the format its ecosystem loads, adapters merged, weights as safetensors."""
        from reasonir.model.lora import merged

        folder.mkdir(parents=True, exist_ok=True)
        self.head.save(merged(self.backbone), folder)
