"""Compares an export with the model in memory: outputs of the same texts, opened as its ecosystem and as reasonir do.

The texts include some that are cut and some that are longer than the backbone's attention window, on both sides of a
retriever and of a pair; the model in memory reads them padded and, where it can, packed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reasonir.errors import InputError
from reasonir.model.backbone import Model
from reasonir.model.encoder import Encoder
from reasonir.model.tokenize import QUERY_SHARE
from reasonir.types import Pair, Side, Text

TOLERANCE = 1e-3
"""The largest difference that counts as rounding, as a share of the largest output and at least of 1."""
_CUT_UP_TO = 1024
_LONG = 256
_BUILT_IN = (
    "Why do long levers move heavy stones more easily than short ones?",
    "Warm air rises, cools as it expands, and gives up its water as rain on the windward side of the hills.",
    "bees",
    "A queue grows without bound when work arrives faster than it is done; nobody has to be slow for that.",
)


@dataclass(frozen=True, slots=True)
class ExportCheck:
    """The comparison of an export.

    Attributes:
        encoder: the model in memory.
        again: the export as reasonir opens it.
        name: the export in messages.
    """

    encoder: Encoder
    again: Model
    name: Path

    @torch.no_grad()
    def run(self, texts: Sequence[str]) -> None:
        """Compare the outputs of `texts`, of built-in ones and of long ones made of them.

        Raises:
            InputError: outputs differ by more than rounding; says where and by how much.
        """
        given = [text.strip() for text in (*texts, *_BUILT_IN) if text.strip()]
        for side, sample in self._pairs(given) if self.encoder.head.reads_pairs else self._texts(given):
            with _padded(self.encoder):
                expected = _outputs(self.encoder, sample, side)
            if self.encoder.packs:
                self._refuse_difference("packed texts", sample, expected, _outputs(self.encoder, sample, side))
            for name, found in self._opened(sample, side):
                self._refuse_difference(f"opened by {name}", sample, expected, found)

    def _opened(self, sample: Sequence[Any], side: Side | None) -> Iterator[tuple[str, Sequence[Tensor]]]:
        """The outputs by whoever opens the export, one library at a time; on the CPU where memory is short."""

        def here(device: torch.device) -> Mapping[str, Sequence[Tensor]]:
            return {"reasonir": _outputs(self.again.load().eval().to(device), sample, side)}

        def elsewhere(device: torch.device) -> Mapping[str, Sequence[Tensor]]:
            arguments = (Path(self.again.path), sample, *([side] if side else []), device)
            trust = self.again.trust_remote_code
            found: Mapping[str, Sequence[Tensor]] = self.encoder.head.opened_elsewhere(
                *arguments, trust_remote_code=trust
            )
            return found

        for opening in (here, elsewhere):
            try:
                found = opening(self.encoder.device)
            except torch.OutOfMemoryError:
                found = {}
            gc.collect()
            yield from (found or opening(torch.device("cpu"))).items()

    def _refuse_difference(
        self, how: str, sample: Sequence[Any], expected: Sequence[Tensor], found: Sequence[Tensor]
    ) -> None:
        allowed = TOLERANCE * max(1.0, *(float(each.abs().max()) for each in expected))
        for text, one, other in zip(sample, expected, found, strict=True):
            if (difference := _difference(one, other)) <= allowed:
                continue
            what = "a pair with a document" if isinstance(text, Pair) else "a text"
            words = len((text.document if isinstance(text, Pair) else text).text.split())
            raise InputError(
                f"the export {self.name} isn't the trained model: {how} give outputs that differ by {difference:.2g} "
                f"on {what} of {words} words, where rounding explains {allowed:.2g}. It was not published; checkpoints "
                "are kept. This is a defect of ours or of a library: please report it with environment.json"
            )

    def _texts(self, given: Sequence[str]) -> Iterator[tuple[Side | None, list[Any]]]:
        sides: tuple[Side, Side] = ("query", "document")
        for side in sides:
            long = self._long(given, self.encoder.head.tokenizer.limit(side))
            yield side, [Text(text) for text in (*given, long)]

    def _pairs(self, given: Sequence[str]) -> Iterator[tuple[Side | None, list[Any]]]:
        tokenizer = self.encoder.head.tokenizer
        long = self._long(given, tokenizer.limit("document"))
        pairs = [*pairwise(given), (given[0], long), (long, given[0])]
        if tokenizer.query_share == QUERY_SHARE:  # libraries know no other
            pairs.append((long, long))
        yield None, [Pair(Text(query), Text(document)) for query, document in pairs]

    def _long(self, texts: Sequence[str], limit: int) -> str:
        """A text that is cut where the limit isn't far, and in any case longer than the attention window."""
        config: Any = self.encoder.backbone.config
        window = max(getattr(config, name, None) or 0 for name in ("sliding_window", "local_attention"))
        tokens = limit + 16 if limit <= _CUT_UP_TO else min(limit, max(window + 64, _LONG))
        words = " ".join(texts).split()
        return " ".join(words[place % len(words)] for place in range(tokens))  # a word has a token at least


def _outputs(encoder: Encoder, sample: Sequence[Any], side: Side | None) -> list[Tensor]:
    """See `Head.outputs`."""
    tokens = encoder.head.tokenizer(sample, side) if side else encoder.head.tokenizer(sample)[0]
    outputs: list[Tensor] = encoder.head.outputs(encoder.represent(tokens))
    return outputs


def _difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two outputs; infinite where they are of different sizes."""
    first, second = one.cpu().float().flatten(), other.cpu().float().flatten()
    if second.numel() == 1:  # libraries give a pruner's score only
        first = first[:1]
    return float((first - second).abs().max()) if first.shape == second.shape else float("inf")


@contextmanager
def _padded(encoder: Encoder) -> Iterator[None]:
    """Texts are padded in the block even where they could be packed."""
    packs, encoder.may_pack = encoder.may_pack, False
    try:
        yield
    finally:
        encoder.may_pack = packs
