"""Comparison of an export with the model in memory: outputs for the same texts, by its ecosystem and by reasonir.

The texts include truncated ones and ones longer than the backbone's attention window, on both sides of a retriever and
of a pair; the model in memory reads them in float32, padded and, if it can, packed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
from reasonir.utils.devices import INVENTED

TOLERANCE = 1e-3
"""Largest difference that counts as rounding, relative to the largest output and at least to 1."""
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
    """Comparison of an export.

    Attributes:
        encoder: the model in memory.
        exported: the export, to be opened by reasonir.
        name: the export in messages.
    """

    encoder: Encoder
    exported: Model
    name: Path

    @torch.no_grad()
    def run(self, texts: Sequence[str]) -> None:
        """Compare the outputs for `texts`, built-in texts and long ones made of them.

        Raises:
            InputError: outputs differ by more than rounding; names the difference.
        """
        inputs = [text.strip() for text in (*texts, *_BUILT_IN) if text.strip()]
        with _changed(self.encoder, precision="32-true"):
            for side, sample in self._pairs(inputs) if self.encoder.head.reads_pairs else self._texts(inputs):
                with _changed(self.encoder, may_pack=False):
                    expected = _outputs(self.encoder, sample, side)
                if self.encoder.packs:
                    self._refuse_difference("of packed texts", sample, expected, _outputs(self.encoder, sample, side))
                for name, actual in self._opened(sample, side):
                    self._refuse_difference(f"by {name}", sample, expected, actual)

    def _opened(self, sample: Sequence[Any], side: Side | None) -> Iterator[tuple[str, Sequence[Tensor]]]:
        """Yield the outputs by each library, one at a time; on the CPU if memory is short, or the device invented."""

        def by_reasonir(device: torch.device) -> Mapping[str, Sequence[Tensor]]:
            return {"reasonir": _outputs(self.exported.load().eval().to(device), sample, side)}

        def by_libraries(device: torch.device) -> Mapping[str, Sequence[Tensor]]:
            arguments = (Path(self.exported.path), sample, *([side] if side else []), device)
            trust = self.exported.trust_remote_code
            outputs: Mapping[str, Sequence[Tensor]] = self.encoder.head.library_outputs(
                *arguments, trust_remote_code=trust
            )
            return outputs

        here, cpu = self.encoder.device, torch.device("cpu")
        for run, device in ((by_reasonir, here), (by_libraries, cpu if here.type == INVENTED else here)):
            outputs = None
            with suppress(torch.OutOfMemoryError):
                outputs = run(device)
            gc.collect()
            yield from (run(cpu) if outputs is None else outputs).items()

    def _refuse_difference(
        self, variant: str, sample: Sequence[Any], expected: Sequence[Tensor], actual: Sequence[Tensor]
    ) -> None:
        allowed = TOLERANCE * max(1.0, *(float(output.abs().max()) for output in expected))
        for text, one, other in zip(sample, expected, actual, strict=True):
            if (difference := _difference(one, other)) <= allowed:
                continue
            kind = "a pair with a document" if isinstance(text, Pair) else "a text"
            words = len((text.document if isinstance(text, Pair) else text).text.split())
            raise InputError(
                f"the export {self.name} isn't the trained model: outputs {variant} differ by {difference:.2g} on "
                f"{kind} of {words} words, more than rounding ({allowed:.2g}). It was not published; checkpoints "
                "are kept. This is a defect of reasonir or of a library: please report it with environment.json"
            )

    def _texts(self, inputs: Sequence[str]) -> Iterator[tuple[Side | None, list[Any]]]:
        sides: tuple[Side, Side] = ("query", "document")
        for side in sides:
            long = self._long(inputs, self.encoder.head.tokenizer.limit(side))
            yield side, [Text(text) for text in (*inputs, long)]

    def _pairs(self, inputs: Sequence[str]) -> Iterator[tuple[Side | None, list[Any]]]:
        tokenizer = self.encoder.head.tokenizer
        long = self._long(inputs, tokenizer.limit("document"))
        pairs = [*pairwise(inputs), (inputs[0], long), (long, inputs[0])]
        if tokenizer.query_share == QUERY_SHARE:  # the only one that libraries support
            pairs.append((long, long))
        yield None, [Pair(Text(query), Text(document)) for query, document in pairs]

    def _long(self, texts: Sequence[str], limit: int) -> str:
        """Return a text that is truncated if the limit is near, and in any case longer than the attention window."""
        config: Any = self.encoder.backbone.config
        window = max(getattr(config, name, None) or 0 for name in ("sliding_window", "local_attention"))
        tokens = limit + 16 if limit <= _CUT_UP_TO else min(limit, max(window + 64, _LONG))
        words = " ".join(texts).split()
        return " ".join(words[index % len(words)] for index in range(tokens))  # a word has at least one token


def _outputs(encoder: Encoder, sample: Sequence[Any], side: Side | None) -> list[Tensor]:
    """See `Head.outputs`."""
    tokens = encoder.head.tokenizer(sample, side) if side else encoder.head.tokenizer(sample)[0]
    outputs: list[Tensor] = encoder.head.outputs(encoder.represent(tokens))
    return outputs


def _difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two outputs; infinite if their sizes differ."""
    first, second = one.cpu().float().flatten(), other.cpu().float().flatten()
    if second.numel() == 1:  # libraries return a pruner's score only
        first = first[:1]
    return float((first - second).abs().max()) if first.shape == second.shape else float("inf")


@contextmanager
def _changed(encoder: Encoder, **values: Any) -> Iterator[None]:
    """Give attributes of the encoder other values within the block."""
    before = {name: getattr(encoder, name) for name in values}
    for name, value in values.items():
        setattr(encoder, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(encoder, name, value)
