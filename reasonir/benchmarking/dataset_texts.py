"""A step's texts from rows of training data, none of which stands twice."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonir.data.base import Source
from reasonir.errors import InputError
from reasonir.training.datamodule import LoaderOptions, RetrievalData
from reasonir.utils.ranges import NonNegative, Validated

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rows(Validated):
    """The first rows of a source that have no text in common.

    Attributes:
        source: where they come from.
        home: under it prepared sets are kept.
        seed: of the split.
    """

    source: Source
    home: str
    seed: NonNegative

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    def columns(self, tokenizer: Any, count: int, negatives: int) -> list[list[str]]:
        """See `Texts`; negatives where the data has any."""
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
            raise InputError("the data has fewer than two rows without a text in common: bench on other data")
        if len(rows) < count:
            log.warning("Only %d rows have no text in common: the step takes those", len(rows))
        return [list(column) for column in zip(*rows, strict=True)]
