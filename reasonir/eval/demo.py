"""The demo corpus as a benchmark: situations of principles that training never saw, over all its documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reasonir.data.demo import PARTS, Part, build_world
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.types import Task


@dataclass(frozen=True, slots=True)
class DemoBenchmark(Benchmark):
    """One split of the demo corpus: `seed` is that of `data=demo`."""

    split: Part = "test"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in PARTS:
            raise InputError(f"eval.split={self.split}: choose one of {', '.join(PARTS)}")

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """The one task."""
        yield build_world(self.seed, 1).task(self.split)
