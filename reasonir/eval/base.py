"""Benchmark protocol: named retrieval tasks. A new benchmark is one file here and one YAML in conf/eval.

A benchmark with metrics beyond rankings overrides `analyse`: called with each system in turn, it returns further
metrics, which are reported next to nDCG in results.json and MLflow, and may write files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from reasonir.data.base import HeldOut
from reasonir.eval.leaderboard import Leaderboard
from reasonir.eval.results import HEADLINE, ExtraMetrics
from reasonir.eval.systems import System
from reasonir.model.encoder import Encoder
from reasonir.types import Run, Task


@dataclass(frozen=True, slots=True)
class EvaluatedSystem:
    """A system with its rankings, as `Benchmark.analyse` receives it.

    Attributes:
        name: the system's name in the results: random, bm25, untrained or trained.
        runs: rankings of the benchmark's tasks, by task name.
        rank: ranks any other task in the same way.
        encoder: the model; None for systems without one.
        development: queries that choose weights; None without any.
    """

    name: str
    runs: Mapping[str, Run]
    rank: System
    encoder: Encoder | None
    development: Task | None = None


class Benchmark(Protocol):
    """One or more tasks that a retriever is evaluated on, with defaults for everything but `tasks`."""

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """Task names whose mean is reported, by the name of the mean."""
        return {}

    @property
    def headline(self) -> str:
        """The main metric; see `ranking_metrics.NAMES`."""
        return HEADLINE

    @classmethod
    def incompatibility(cls, head: Any) -> str | None:
        """Return why this benchmark can't evaluate a class of heads, with the remedy; None if it can."""
        return None

    @property
    def needs_held_out(self) -> bool:
        """True if the tasks are queries held out of the run's own data."""
        return False

    def with_held_out(self, data: HeldOut) -> Self:
        """Return the benchmark, evaluating on the held-out queries of `data` if it needs any."""
        return self

    @property
    def leaderboard(self) -> Leaderboard:
        """Published results; empty by default."""
        return Leaderboard()

    @property
    def leaderboards(self) -> Mapping[str, Leaderboard]:
        """Published results by the name of their files."""
        return {"leaderboard": self.leaderboard}

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield the tasks in a fixed order.

        Args:
            corpus: False if documents aren't needed, as for scoring run files.

        Raises:
            InputError: naming file, row, value and remedy.
        """

    @property
    def analyses_run_files(self) -> bool:
        """True if `analyse` needs nothing but rankings of the benchmark's tasks."""
        return False

    def analyse(self, system: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """Return further metrics of a system by task.

        Called once per system in the order of evaluation, the trained model last; for run files, whose `rank` reads
        the files, only if `analyses_run_files`. Files written to `folder` are kept with the run and available for the
        next system, in a resumed run as well.
        """
        return {}
