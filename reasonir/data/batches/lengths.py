"""Text lengths before truncation, from a seeded sample, and length limits that fit them.

A column is one kind of text of the data (queries, positives, negatives). Its lengths are counted by a function that is
passed in, since `data/` knows no model: the head's tokenizer adds prompts, marker tokens and special tokens. Limits
that fit the data are the nearest-rank percentile of a side's longest column, raised to a floor and then bounded by the
model's positions.

Shape letters: N texts of a column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le

from reasonir.types import Side
from reasonir.utils.ranges import Positive, Validated

FLOORS: dict[Side, int] = {"query": 32, "document": 128}
"""Smallest fitted lengths, since evaluation texts may be longer than those of the data."""


@dataclass(frozen=True, slots=True)
class LengthOptions(Validated):
    """Options for fitting lengths to the data.

    Attributes:
        auto: fit every length that isn't set, in place of the head's default.
        percentile: share of a column's texts that stay whole.
        sample: number of rows to measure, drawn by the seed; also the most texts per column.
    """

    auto: bool = False
    percentile: Annotated[float, Gt(0), Le(1)] = 0.95
    sample: Positive = 500


@dataclass(frozen=True, slots=True)
class LengthCut:
    """Truncation of a column at `cap` tokens: shares of its texts that are cut and of its tokens that are lost."""

    cap: int
    texts: float
    tokens: float


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Lengths in tokens of one kind of text before truncation, in ascending order."""

    name: str
    side: Side
    lengths_N: np.ndarray

    @classmethod
    def of(cls, name: str, side: Side, lengths: Sequence[int]) -> Column:
        """Return the column of these lengths."""
        assert len(lengths)
        return cls(name, side, np.sort(np.asarray(lengths, dtype=np.int64)))

    def percentile(self, share: float) -> int:
        """Return the shortest length that at least this share of the texts doesn't exceed (nearest rank).

        >>> Column.of("queries", "query", [5, 1, 3, 9]).percentile(0.75)
        5
        """
        return int(self.lengths_N[max(1, math.ceil(share * len(self.lengths_N) - 1e-9)) - 1])

    @property
    def longest(self) -> int:
        """Length of the longest text."""
        return int(self.lengths_N[-1])

    def cut(self, cap: int) -> LengthCut:
        """Return what a limit of `cap` tokens truncates."""
        over_N = np.maximum(self.lengths_N - cap, 0)
        return LengthCut(cap, float((over_N > 0).mean()), float(over_N.sum() / self.lengths_N.sum()))

    def histogram(self) -> dict[int, int]:
        """Return the number of texts by upper end of each bin (..., 32, 48, 64, 96, ...: doubled in two steps)."""
        ends = [8]
        while ends[-1] < self.longest:
            ends.append(ends[-1] * 3 // 2 if len(ends) % 2 else ends[-2] * 2)
        bins_N = np.searchsorted(ends, self.lengths_N)
        return {end: int((bins_N == number).sum()) for number, end in enumerate(ends)}

    def typical(self, count: int) -> list[int]:
        """Return `count` lengths distributed as in the sample, for a step of that many texts."""
        ranks = (np.arange(count) + 0.5) / max(1, count) * len(self.lengths_N)
        return [int(length) for length in self.lengths_N[ranks.astype(int)]]

    def to_dict(self, limit: int, caps: Sequence[int]) -> dict[str, Any]:
        """Return plain values, for plan.json."""
        return {
            "side": self.side,
            "texts": len(self.lengths_N),
            "limit": limit,
            "mean": float(self.lengths_N.mean()),
            "median": self.percentile(0.5),
            "p95": self.percentile(0.95),
            "longest": self.longest,
            "truncated": self.cut(limit).texts,
            "tokens_lost": self.cut(limit).tokens,
            "histogram": {str(end): count for end, count in self.histogram().items()},
            "cuts": [{"cap": cut.cap, "texts": cut.texts, "tokens": cut.tokens} for cut in map(self.cut, caps)],
        }


def caps(columns: Sequence[Column], positions: int) -> list[int]:
    """Return limits to compare: 32, 64, 128, ... up to the first that cuts nothing, or to the model's positions."""
    longest = max(column.longest for column in columns)
    limits = [32]
    while limits[-1] < longest:
        limits.append(limits[-1] * 2)
    within = [limit for limit in limits if limit < positions]
    return within if len(within) == len(limits) else [*within, positions]


def fitting(columns: Sequence[Column], percentile: float, positions: int) -> Mapping[Side, int]:
    """Return the length of each side at which that share of the texts of each of its columns stays whole.

    The floor is applied before the bound: no length exceeds the model's positions.
    """
    lengths: dict[Side, int] = {}
    for column in columns:
        lengths[column.side] = max(lengths.get(column.side, FLOORS[column.side]), column.percentile(percentile))
    return {side: min(length, positions) for side, length in lengths.items()}
