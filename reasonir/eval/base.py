"""What a benchmark is: named retrieval tasks. A new one is one file here and one YAML in conf/eval.

A benchmark that judges more than rankings overrides `analyse`: it is shown every system in turn, gives figures of its
own, which stand beside nDCG in results.json and MLflow, and writes files.
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
    """A system whose rankings were judged, as a benchmark sees it that looks closer.

    Attributes:
        name: random, bm25, untrained, trained: its name in the results.
        runs: its rankings of the benchmark's tasks, by the task's name.
        rank: ranks any other task as it ranked those.
        encoder: its model; None where it has none.
    """

    name: str
    runs: Mapping[str, Run]
    rank: System
    encoder: Encoder | None


class Benchmark(Protocol):
    """One or more tasks that a retriever is judged on; what a subclass doesn't say itself is usual."""

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """Means over tasks that are reported, by their name."""
        return {}

    @property
    def headline(self) -> str:
        """The metric that counts; see `metrics.NAMES`."""
        return HEADLINE

    @classmethod
    def misfit(cls, head: Any) -> str | None:
        """Why this benchmark can't judge a class of heads, a sentence with the remedy; None where it can."""
        return None

    @property
    def needs_held_out(self) -> bool:
        """Whether it evaluates on queries held out of the run's own data."""
        return False

    def with_held_out(self, data: HeldOut) -> Self:
        """The same, evaluating on what `data` held out where it needs that."""
        return self

    @property
    def leaderboard(self) -> Leaderboard:
        """Published figures to stand among."""
        return Leaderboard()

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """The tasks, in a fixed order; without `corpus` documents needn't be there, for judging run files.

        Raises:
            InputError: naming file, row, value and remedy.
        """

    def analyse(self, subject: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """What there is to say of a system beside its rankings, by task.

        Systems come in the order in which they are judged, the trained model last; run files don't come. What is
        written to `folder` is kept with the run, and is there when the next system comes, in a resumed run as well.
        """
        return {}
