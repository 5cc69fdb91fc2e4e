"""The demo corpus as a benchmark: situations of principles that training never saw, over all its documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reasonir.data.demo import PARTS, Part, build_world
from reasonir.errors import InputError
from reasonir.eval.leaderboard import Leaderboard
from reasonir.types import Task


@dataclass(frozen=True, slots=True)
class Demo:
    """One split of the demo corpus: `seed` is that of `data=demo`."""

    split: Part = "test"
    seed: int = 0
    groups: ClassVar[Mapping[str, Sequence[str]]] = {}
    leaderboard: ClassVar[Leaderboard] = Leaderboard()

    def __post_init__(self) -> None:
        if self.split not in PARTS:
            raise InputError(f"eval.split={self.split}: choose one of {', '.join(PARTS)}")

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """The one task."""
        yield build_world(self.seed, 1).task(self.split)
