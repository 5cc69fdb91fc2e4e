"""Benchmark on the demo corpus: situations of principles unseen in training, searched over all its documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reasonir.data.demo import Part, build_world
from reasonir.eval.base import Benchmark
from reasonir.types import Task
from reasonir.utils.ranges import Seed, Validated


@dataclass(frozen=True, slots=True)
class DemoBenchmark(Benchmark, Validated):
    """One split of the demo corpus; `seed` as in `data=demo`."""

    split: Part = "test"
    seed: Seed = 0

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield the one task."""
        yield build_world(self.seed, 1).task(self.split)
