"""Text lengths of a run: columns of the data measured by the model's tokenizer, and head lengths fitted to them.

Needs neither weights nor a device. Without a tokenizer, lengths are estimated from characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch

from reasonir.data.batches.lengths import Column, LengthOptions, fitting
from reasonir.errors import NotHereError
from reasonir.model.backbone import Model
from reasonir.model.checkpoint_config import UNBOUNDED, stated_options
from reasonir.planning.trace import TextShapes
from reasonir.training.datamodule import RetrievalData
from reasonir.types import Side

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """Lengths of sampled texts, by column.

    Attributes:
        columns: columns of the data.
        limits: maximum tokens per text of each side.
        least: tokens that shorter texts of each side are padded to.
        positions: maximum of any limit.
        counted: unit that was counted: "tokens", "characters" without a tokenizer, "limits" without data.
        queries_cut: share of pairs whose query is truncated next to its document; 0 for heads that read single texts.
    """

    columns: tuple[Column, ...]
    limits: dict[Side, int]
    least: dict[Side, int]
    positions: int
    counted: Literal["tokens", "characters", "limits"]
    queries_cut: float = 0.0

    def texts(self, counts: dict[str, int]) -> TextShapes:
        """Return a typical step with `counts` texts per column, truncated and padded; queries first, if separate."""
        parts = {
            column.name: np.clip(column.typical(counts[column.name]), self.least[column.side], self.limits[column.side])
            for column in self.columns
        }
        return TextShapes(torch.from_numpy(np.concatenate(list(parts.values()))), len(parts.get("queries", ())))


def measure(model: Model, data: RetrievalData, *, rows: int) -> Measured:
    """Measure the columns of up to `rows` training rows, with prompts and markers, without truncation.

    A head that reads query and document together has columns of pairs.
    """
    sides: tuple[Side, Side] = ("query", "document")
    folder = _folder(model)
    if folder is None or not any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        columns = tuple(_estimated(model, data, rows, folder))
        return Measured(columns, model.limits(folder), dict.fromkeys(sides, 0), UNBOUNDED, "characters")
    tokenizer, positions = model.read_tokenizer(folder)
    pairs = data.sample_pairs(rows) if model.reads_pairs else {}
    lost_P = [lost for column in pairs.values() for lost in tokenizer(column)[0].lost_query_N.tolist()]
    return Measured(
        tuple(_counted(model, data, rows, tokenizer.whole())),
        {side: tokenizer.limit(side) for side in sides},
        {side: tokenizer.least(side) for side in sides},
        positions,
        "tokens",
        fmean(lost > 0 for lost in lost_P) if lost_P else 0.0,
    )


def longest(model: Model) -> Measured:
    """Return columns of maximum length, for plans without readable data."""
    limits = model.limits(_folder(model))
    sides: dict[str, Side] = {} if model.reads_pairs else {"queries": "query"}
    sides |= {"positives": "document", "negatives": "document"}
    columns = tuple(Column.of(name, side, [limits[side]]) for name, side in sides.items())
    return Measured(columns, limits, dict.fromkeys(limits, 0), UNBOUNDED, "limits")


def _counted(model: Model, data: RetrievalData, rows: int, whole: Any) -> Iterator[Column]:
    if model.reads_pairs:
        for name, pairs in data.sample_pairs(rows).items():
            yield Column.of(name, "document", whole(pairs)[0].lengths_N.tolist())
    else:
        for name, (side, texts) in data.sample(rows).items():
            yield Column.of(name, side, whole(texts, side).lengths_N.tolist())


def _estimated(model: Model, data: RetrievalData, rows: int, folder: Path | None) -> Iterator[Column]:
    stated = stated_options(folder, "config_sentence_transformers.json")
    prompts = model.prompts.completed(stated.get("prompts", {}))
    if model.reads_pairs:
        for name, pairs in data.sample_pairs(rows).items():
            yield Column.of(name, "document", [_tokens(p.query.text) + _tokens(p.document.text) for p in pairs])
    else:
        for name, (side, texts) in data.sample(rows).items():
            yield Column.of(name, side, [_tokens(prompts.apply(text, side)) for text in texts])


def _tokens(text: str) -> int:
    return max(1, len(text) // _CHARACTERS_PER_TOKEN)


def auto_lengths(model: Model, measured: Measured, options: LengthOptions) -> dict[str, int]:
    """Return the head's unset length options, fitted to the data; empty without a tokenizer."""
    if measured.counted != "tokens":
        return {}
    return model.length_options(fitting(measured.columns, options.percentile, measured.positions))


def _folder(model: Model) -> Path | None:
    try:
        return model.locate(weights=False)
    except NotHereError:
        return None
