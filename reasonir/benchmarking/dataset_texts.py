"""Texts of a step from rows of training data, all distinct."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonir.data.base import Source
from reasonir.errors import InputError
from reasonir.training.datamodule import RetrievalData
from reasonir.training.options import LoaderOptions
from reasonir.utils.ranges import Seed, Validated

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DatasetTexts(Validated):
    """First rows of a source without a text in common.

    Attributes:
        source: the data source.
        home: folder of prepared sets.
        seed: seed of the split.
    """

    source: Source
    home: str
    seed: Seed

    @property
    def name(self) -> str:
        """Name of the source."""
        return self.source.name

    def columns(self, tokenizer: Any, count: int, negatives: int) -> list[list[str]]:
        """See `WorkloadTexts`; without negatives if the data has none."""
        options = LoaderOptions(batch_size=count, negatives=negatives)
        data = RetrievalData(self.source, options, home=Path(self.home), seed=self.seed)
        data.setup()
        wanted = negatives if data.has_negatives else 0
        seen: set[str] = set()
        rows: list[list[str]] = []
        for row in data.rows.select(range(len(data.rows))):
            texts = [row["query"], *(text for _, text in row["pos"][:1]), *(text for _, text in row["neg"][:wanted])]
            if len(texts) == 2 + wanted and len({*texts}) == len(texts) and not seen & {*texts}:
                rows.append(texts)
                seen.update(texts)
            if len(rows) == count:
                break
        if len(rows) < 2:
            raise InputError("the data has fewer than two rows without a text in common: choose other data")
        if len(rows) < count:
            log.warning("Only %d rows have no text in common: the step has batch_size=%d", len(rows), len(rows))
        return [list(column) for column in zip(*rows, strict=True)]
