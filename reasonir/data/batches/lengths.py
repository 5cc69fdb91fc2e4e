"""How long texts are, and what a limit cuts of them: by column, from a seeded sample, before anything is cut.

A column is one kind of text of the data (queries, positives, negatives). Its lengths are counted by a function that is
handed in, since `data/` knows no model: prompts, marker tokens and special tokens are the head's tokenizer's business.
Lengths that fit the data are the nearest-rank percentile of a side's longest column, raised to a floor and only then
bounded by the positions that the model has.
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
"""Lengths found are at least these: texts of an evaluation may be longer than those of the data, and room is free."""


@dataclass(frozen=True, slots=True)
class LengthOptions(Validated):
    """Lengths that fit the data, in place of the head's.

    Attributes:
        auto: take every length that isn't given from the data.
        percentile: share of a column's texts that stay whole.
        sample: rows that are measured, drawn by the seed; as many texts a column at most.
    """

    auto: bool = False
    percentile: Annotated[float, Gt(0), Le(1)] = 0.95
    sample: Positive = 500


@dataclass(frozen=True, slots=True)
class LengthCut:
    """What a limit of `cap` tokens does to a column: the share of its texts it cuts, and of their tokens it loses."""

    cap: int
    texts: float
    tokens: float


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Uncut lengths in tokens of one kind of text, in ascending order; `side` says how they are laid out."""

    name: str
    side: Side
    lengths_N: np.ndarray

    @classmethod
    def of(cls, name: str, side: Side, lengths: Sequence[int]) -> Column:
        """The column of these lengths."""
        assert len(lengths)
        return cls(name, side, np.sort(np.asarray(lengths, dtype=np.int64)))

    def percentile(self, share: float) -> int:
        """The shortest length that at least this share of the texts doesn't exceed (nearest rank).

        >>> Column.of("queries", "query", [5, 1, 3, 9]).percentile(0.75)
        5
        """
        return int(self.lengths_N[max(1, math.ceil(share * len(self.lengths_N) - 1e-9)) - 1])

    @property
    def longest(self) -> int:
        """The longest text."""
        return int(self.lengths_N[-1])

    def cut(self, cap: int) -> LengthCut:
        """What a limit does to this column."""
        over_N = np.maximum(self.lengths_N - cap, 0)
        return LengthCut(cap, float((over_N > 0).mean()), float(over_N.sum() / self.lengths_N.sum()))

    def histogram(self) -> dict[int, int]:
        """Texts by length: the upper end of each bin, which doubles in two steps (..., 32, 48, 64, 96, ...)."""
        ends = [8]
        while ends[-1] < self.longest:
            ends.append(ends[-1] * 3 // 2 if len(ends) % 2 else ends[-2] * 2)
        places = np.searchsorted(ends, self.lengths_N)
        return {end: int((places == place).sum()) for place, end in enumerate(ends)}

    def typical(self, count: int) -> list[int]:
        """`count` lengths that are spread as the sampled ones are: what a step of that many texts looks like."""
        places = (np.arange(count) + 0.5) / max(1, count) * len(self.lengths_N)
        return [int(length) for length in self.lengths_N[places.astype(int)]]

    def to_dict(self, limit: int, caps: Sequence[int]) -> dict[str, Any]:
        """Plain values, for plan.json."""
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
    """The limits worth comparing: 32, 64, 128, ... up to the first that cuts nothing, or to the model's positions."""
    longest = max(column.longest for column in columns)
    found = [32]
    while found[-1] < longest:
        found.append(found[-1] * 2)
    within = [cap for cap in found if cap < positions]
    return within if len(within) == len(found) else [*within, positions]


def fitting(columns: Sequence[Column], percentile: float, positions: int) -> Mapping[Side, int]:
    """The length of each side at which that share of the texts of each of its columns stays whole.

    The floor is applied before the bound: no length exceeds the positions that the model has.
    """
    wanted: dict[Side, int] = {}
    for column in columns:
        wanted[column.side] = max(wanted.get(column.side, FLOORS[column.side]), column.percentile(percentile))
    return {side: min(length, positions) for side, length in wanted.items()}
