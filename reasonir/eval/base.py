"""What a benchmark is: named retrieval tasks. A new one is one file here and one YAML in conf/eval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from reasonir.eval.leaderboard import Leaderboard
from reasonir.eval.results import HEADLINE
from reasonir.types import Task


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

    @property
    def leaderboard(self) -> Leaderboard:
        """Published figures to stand among."""
        return Leaderboard()

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """The tasks, in a fixed order; without `corpus` documents needn't be there, for judging run files.

        Raises:
            InputError: naming file, row, value and remedy.
        """
