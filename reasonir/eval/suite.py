"""Several benchmarks in one evaluation: a table over all their sets, and each one's own mean and published results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import MinLen

from reasonir.errors import did_you_mean
from reasonir.eval.base import Benchmark
from reasonir.eval.leaderboard import Leaderboard
from reasonir.types import Task
from reasonir.utils.ranges import Validated


@dataclass(frozen=True, slots=True)
class Suite(Benchmark, Validated):
    """The tasks of several benchmarks, each named after its benchmark: nanobeir_NanoNQ.

    The headline is nDCG@10, the metric that all of them have; a leaderboard is by its benchmark's own metric.

    Attributes:
        benchmarks: the benchmarks that can be chosen, by name.
        include: names of those to evaluate; None for all.
    """

    benchmarks: Mapping[str, Benchmark]
    include: Annotated[Sequence[str], MinLen(1)] | None = None

    def problems(self) -> Iterable[str]:
        """Unknown names, and a benchmark that can't be part of a suite."""
        if not self.benchmarks:
            yield "benchmarks={}: name one, +eval@eval.benchmarks.mine=beir"
        for name in self.include or ():
            if name not in self.benchmarks:
                close = did_you_mean(name, self.benchmarks)
                yield f"include names {name!r}{close}: choose from {', '.join(self.benchmarks)}"
        for name, benchmark in self.benchmarks.items():
            if benchmark.needs_held_out or type(benchmark).analyse is not Benchmark.analyse:
                yield f"benchmarks.{name}: it evaluates more than rankings of named tasks: evaluate it by itself"

    @property
    def _chosen(self) -> Mapping[str, Benchmark]:
        return {name: self.benchmarks[name] for name in self.include or self.benchmarks}

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """The groups of every benchmark."""
        return {
            group if group.startswith(name) else f"{name}_{group}": [f"{name}_{task}" for task in tasks]
            for name, benchmark in self._chosen.items()
            for group, tasks in benchmark.groups.items()
        }

    @property
    def leaderboards(self) -> Mapping[str, Leaderboard]:
        """The published results of every benchmark, by its name."""
        boards = {name: benchmark.leaderboards for name, benchmark in self._chosen.items()}
        return {name: board.renamed(f"{name}_") for name, own in boards.items() for board in own.values()}

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield the tasks of every benchmark."""
        for name, benchmark in self._chosen.items():
            for task in benchmark.tasks(corpus=corpus):
                yield replace(task, name=f"{name}_{task.name}")
