"""Distinct texts of a corpus, in order of first occurrence, and the positions of each.

Texts are compared by their content keys, so that no text has to stay in memory.

Shape letters: N documents, U distinct texts, M a selection of either.
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
        text_N: number of the text at each corpus position.
        order_N: corpus positions, grouped by text.
        starts_U: where the positions of each text start in order_N.
    """

    texts: Sequence[str]
    text_N: np.ndarray
    order_N: np.ndarray
    starts_U: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Duplicates:
        """Find the duplicates among the N texts of a corpus."""
        keys_N = np.fromiter((content_key(text) for text in texts), np.int64, len(texts))
        _, first_U, sorted_N = np.unique(keys_N, return_index=True, return_inverse=True)
        rank_U = np.argsort(np.argsort(first_U))
        text_N = rank_U[sorted_N]
        distinct = texts if len(first_U) == len(texts) else _Selection(texts, np.sort(first_U))
        starts_U = np.cumsum(counts := np.bincount(text_N)) - counts
        return cls(distinct, text_N, np.argsort(text_N, kind="stable"), starts_U)

    def positions(self, texts_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the corpus positions of texts, and for each position its text as an index into texts_M."""
        counts_M = self._copies(texts_M)
        text_P = np.repeat(np.arange(len(texts_M)), counts_M)
        within_P = np.arange(len(text_P)) - np.repeat(np.cumsum(counts_M) - counts_M, counts_M)
        return self.order_N[self.starts_U[texts_M][text_P] + within_P], text_P

    def wholly_in(self, positions_M: np.ndarray) -> np.ndarray:
        """Return the texts of which every copy is at one of the corpus positions."""
        texts_M, counts_M = np.unique(self.text_N[positions_M], return_counts=True)
        return np.asarray(texts_M[counts_M == self._copies(texts_M)])

    def _copies(self, texts_M: np.ndarray) -> np.ndarray:
        ends_U = np.append(self.starts_U[1:], len(self.order_N))
        return np.asarray(ends_U[texts_M] - self.starts_U[texts_M])


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
