"""The distinct texts of a corpus, in the order in which they first come, and where each of them stands.

They are told apart by their content keys, so that no text has to stay in memory.

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
    """The U distinct texts; order_N lists the corpus's places text by text, unique_N which text stands there."""

    texts: Sequence[str]
    order_N: np.ndarray
    unique_N: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Duplicates:
        """Find the copies among the N texts of a corpus."""
        keys_N = np.fromiter((content_key(text) for text in texts), np.int64, len(texts))
        _, first_U, sorted_N = np.unique(keys_N, return_index=True, return_inverse=True)
        rank_U = np.argsort(np.argsort(first_U))
        order_N = np.argsort(rank_U[sorted_N], kind="stable")
        distinct = texts if len(first_U) == len(texts) else _Picked(texts, np.sort(first_U))
        return cls(distinct, order_N, rank_U[sorted_N][order_N])

    def places(self, block: slice) -> tuple[np.ndarray, np.ndarray]:
        """Where the texts of `block` stand in the corpus, and the number within the block of each of those."""
        first, last = np.searchsorted(self.unique_N, [block.start, block.stop])
        return self.order_N[first:last], self.unique_N[first:last] - block.start


@dataclass(frozen=True, slots=True)
class _Picked(Sequence[str]):
    """Some of the strings."""

    strings: Sequence[str]
    places_U: np.ndarray

    def __len__(self) -> int:
        return len(self.places_U)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self.strings[chosen] for chosen in self.places_U[place].tolist()]
        return self.strings[int(self.places_U[place])]
