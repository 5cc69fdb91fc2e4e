"""Distinct texts of a corpus, in order of first occurrence, and the positions of each.

Texts are compared by their content keys, so that no text has to stay in memory.

Shape letters: N documents, U distinct texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from reasonir.data.base import content_key


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The U distinct texts of a corpus.

    Attributes:
        texts: distinct texts.
        order_N: corpus positions, grouped by text.
        unique_N: distinct text at each of these positions.
    """

    texts: Sequence[str]
    order_N: np.ndarray
    unique_N: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Duplicates:
        """Find the duplicates among the N texts of a corpus."""
        keys_N = np.fromiter((content_key(text) for text in texts), np.int64, len(texts))
        _, first_U, sorted_N = np.unique(keys_N, return_index=True, return_inverse=True)
        rank_U = np.argsort(np.argsort(first_U))
        order_N = np.argsort(rank_U[sorted_N], kind="stable")
        distinct = texts if len(first_U) == len(texts) else _Selection(texts, np.sort(first_U))
        return cls(distinct, order_N, rank_U[sorted_N][order_N])

    def positions(self, block: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the corpus positions of the texts of `block`, and the text at each as a number within the block."""
        first, last = np.searchsorted(self.unique_N, [block.start, block.stop])
        return self.order_N[first:last], self.unique_N[first:last] - block.start


@dataclass(frozen=True, slots=True)
class _Selection(Sequence[str]):
    """Selection of strings."""

    strings: Sequence[str]
    positions_U: np.ndarray

    def __len__(self) -> int:
        return len(self.positions_U)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self.strings[position] for position in self.positions_U[index].tolist()]
        return self.strings[int(self.positions_U[index])]
