"""Backbone plus head: padded tokens in, packed representations out.

The training engine calls `forward` on one micro-batch at a time; `encode` does the same for inference, over any number
of texts, with the same micro-batches by padded area. The backbone is a transformers model (or its LoRA wrapper). Where
possible (`reasonir.model.varlen`), it computes no padding, and only the head sees padded tensors.

Shape letters: T vectors or tokens of all texts, N texts, M a selection of N, L padded length, H hidden size, P pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reasonir.data.batch import Padded, Representation, Tokens, micro_batches
from reasonir.errors import InputError
from reasonir.hardware import number_format
from reasonir.model import varlen
from reasonir.types import Pair, Side, Text

ENCODE_TOKENS = 8192
_READ_TOGETHER = 256
_SORTED_TOGETHER = 4096
_CHARACTERS_TOGETHER = 1 << 22
PACKED_STRETCH = 2
log = logging.getLogger(__name__)


class Embedder(Protocol):
    """Interface of encoders for indexes: `Encoder`, or `CachingEncoder`."""

    @property
    def head(self) -> Any:
        """Head that scores representations: a `RetrieverHead`."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    def encode(self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS) -> Representation:
        """Return representations of `texts`, in their order."""

    def stream(
        self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS
    ) -> Iterator[tuple[slice, Representation]]:
        """Yield (slice of texts, their representation) block by block, so that no corpus has to fit in memory."""


def blocks(texts: Sequence[Text]) -> Iterator[tuple[slice, list[Text]]]:
    """Split texts into blocks to encode, in order, limited by number of texts and of characters.

    Texts are sorted by length within a block only, so a block's embeddings depend on nothing outside it.
    """
    start, characters = 0, 0
    chosen: list[Text] = []
    for first in range(0, len(texts), _READ_TOGETHER):
        for text in texts[first : first + _READ_TOGETHER]:
            chosen.append(text)
            characters += len(text.text)
            if len(chosen) == _SORTED_TOGETHER or characters >= _CHARACTERS_TOGETHER:
                yield slice(start, start + len(chosen)), chosen
                start, characters, chosen = start + len(chosen), 0, []
    if chosen:
        yield slice(start, start + len(chosen)), chosen


def _go_on() -> None:
    """Do nothing between two micro-batches."""


class Encoder(nn.Module):
    """Turns texts into representations: `backbone` reads tokens, `head` computes vectors and scores."""

    def __init__(self, backbone: nn.Module, head: Any, *, packs: bool = False, trust_remote_code: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        """A `RetrieverHead`, `RerankerHead` or `PrunerHead`."""
        self._options = {"use_cache": False} if getattr(backbone.config, "use_cache", None) is not None else {}
        self._causal = varlen.is_causal(backbone)
        self.may_pack = packs
        """True if texts may be packed, subject to the check in `packs`."""
        self.trust_remote_code = trust_remote_code
        """True if Python code in the checkpoint was allowed to run."""
        self.precision = "32-true"
        """Precision of inference, as in `Hardware.precision`."""
        self._packs: dict[tuple[str, bool], bool] = {}
        self.between: Callable[[], None] = _go_on
        """Called before every micro-batch of `represent`: a server's other requests go first there."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def forward(self, padded: Padded) -> Tensor:
        """Return values_TD of a micro-batch, text by text, in float32."""
        return self.head(self._hidden(padded), padded)  # type: ignore[no-any-return]

    def _hidden(self, padded: Padded) -> Tensor:
        """Return hidden_NLH of a micro-batch; padding positions are arbitrary, or zeros if they were skipped."""
        inputs = self.head.inputs(padded)
        packing = padded.packing
        if packing is None:
            unseen = padded.padding_only and self._causal  # right of all tokens that are read
            full = padded.full or unseen
            attention = str(self.backbone.config._attn_implementation)  # type: ignore[union-attr]
            unpads = attention.startswith("flash") or "/" in attention  # and waits for the device, if there is a mask
            # Without one, transformers looks for packed texts or for padding, and waits as well.
            mask = None if full and unpads else padded.attend_NL
            # Attention of a backbone's own may make tensors on the CPU, and wait until they are on the device.
            here = nullcontext() if attention == varlen.NAME else self.device
            with varlen.reading("full" if full else "padded"), here:
                return self.backbone(input_ids=padded.ids_NL, attention_mask=mask, **inputs, **self._options)[0]  # type: ignore[no-any-return]
        row = {name: value_NL.flatten()[packing.flat_T][None] for name, value_NL in inputs.items()}
        ids_T = padded.ids_NL.flatten()[packing.flat_T][None]
        with varlen.reading("packed"):
            hidden_TH = self.backbone(
                input_ids=ids_T,
                attention_mask=torch.ones_like(ids_T, dtype=torch.bool),
                position_ids=packing.position_T[None] + varlen.first_position(self.backbone),
                cu_seq_lens_q=packing.starts_M,
                max_length_q=packing.longest,
                **row,
                **self._options,
            )[0][0]
        hidden_MH: Tensor = hidden_TH.new_zeros(padded.ids_NL.numel(), hidden_TH.shape[1])
        hidden_MH = hidden_MH.index_copy(0, packing.flat_T, hidden_TH)
        return hidden_MH.view(*padded.ids_NL.shape, -1)

    @property
    def packs(self) -> bool:
        """True if micro-batches are packed in the present device, precision and mode."""
        if not self.may_pack or (self.training and not varlen.trains_packed(self.backbone, self.device)):
            return False
        key = (self.device.type, torch.is_autocast_enabled(self.device.type))
        if key not in self._packs:
            self._packs[key] = self._packed_agrees()
        return self._packs[key]

    @torch.no_grad()
    def _packed_agrees(self) -> bool:
        """Return whether packed texts get the hidden states of padded ones; log a warning if not."""
        config: Any = self.backbone.config
        tokens = varlen.sample(config.vocab_size, getattr(config, "max_position_embeddings", None) or 512)
        every_N = torch.arange(len(tokens))
        training = self.training
        self.eval()
        try:
            packed, padded = (tokens.pad(every_N, packs=packs).to(self.device) for packs in (True, False))
            assert packed.packing is not None
            one_MH, other_MH = (self._hidden(batch).flatten(0, 1)[packed.packing.flat_T] for batch in (packed, padded))
            exact = not torch.is_autocast_enabled(self.device.type)
            agrees = varlen.agree(one_MH, other_MH, packed.packing.starts_M, exact=exact)
            reason = "gives other hidden states than padded texts"
        except (RuntimeError, TypeError, ValueError) as error:
            agrees, reason = False, str(error).splitlines()[0]
        finally:
            self.train(training)
        if not agrees:
            name = type(self.backbone).__name__
            log.warning("Falling back to padding: %s over packed texts on %s %s", name, self.device.type, reason)
        return agrees

    def cut(self, lengths_N: Tensor, budget: int) -> Iterator[Tensor]:
        """Yield the texts of each micro-batch, within `budget` computed positions."""
        return micro_batches(lengths_N, budget, stretch=PACKED_STRETCH if self.packs else 1)

    def pad(self, tokens: Tokens, chosen_M: Tensor) -> Padded:
        """Return the texts `chosen_M` as one micro-batch, on the encoder's device."""
        return tokens.pad(chosen_M, packs=self.packs).to(self.device)

    @torch.no_grad()
    def represent(
        self,
        tokens: Tokens,
        *,
        budget: int = ENCODE_TOKENS,
        watch: Callable[[Iterator[Tensor]], Iterator[Tensor]] = iter,
    ) -> Representation:
        """Return representations for inference: dropout off, no graph, texts in their given order.

        Args:
            tokens: tokenised texts.
            budget: padded tokens of a micro-batch.
            watch: wraps the iterator over micro-batches (indices of texts), for progress.

        Raises:
            InputError: a value isn't finite.
        """
        lengths_N = self.head.vectors(tokens)
        training = self.training
        self.eval()
        try:
            parts, order = [], []
            with number_format(self.precision, self.device.type):
                for chosen_M in watch(self.cut(tokens.lengths_N, budget)):
                    self.between()
                    values_TD = self(self.pad(tokens, chosen_M))
                    parts.append(self.head.stored(Representation(values_TD, lengths_N[chosen_M])))
                    order.append(chosen_M)
        finally:
            self.train(training)
        joined = Representation.join(parts)
        if not bool(joined.values_TD.isfinite().all()):
            raise InputError(
                f"the model gives values that are not finite for a block of {len(tokens)} texts: its weights are "
                "damaged or its training diverged (load an earlier checkpoint), or hardware.precision overflows "
                "(use hardware.precision=32-true)"
            )
        return joined.take(torch.argsort(torch.cat(order)))

    def encode(self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS) -> Representation:
        """Return representations of `texts`, in their order; of none, vectors of the same size."""
        if not texts:
            return self.encode([Text("a")], side, budget=budget).take(torch.zeros(0, dtype=torch.int64))
        return Representation.join([part for _, part in self.stream(texts, side, budget=budget)])

    def stream(
        self, texts: Sequence[Text], side: Side, *, budget: int = ENCODE_TOKENS
    ) -> Iterator[tuple[slice, Representation]]:
        """Yield (slice of texts, their representation) block by block."""
        for block, chosen in blocks(texts):
            yield block, self.represent(self.head.tokenizer(chosen, side), budget=budget)

    def score_pairs(
        self,
        pairs: Sequence[Pair],
        *,
        budget: int = ENCODE_TOKENS,
        record: Callable[[Tokens], object] = lambda tokens: None,
    ) -> Tensor:
        """Return scores_P of a reranker's head, on the CPU; `record` is called with the tokens of each block."""
        parts = []
        for start in range(0, len(pairs), _SORTED_TOGETHER):
            tokens, _ = self.head.tokenizer(pairs[start : start + _SORTED_TOGETHER])
            record(tokens)
            parts.append(self.head.scores(self.represent(tokens, budget=budget)))
        return torch.cat(parts).float().cpu() if parts else torch.zeros(0)
