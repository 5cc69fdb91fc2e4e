"""What a benchmark is: named retrieval tasks. A new one is one file here and one YAML in conf/eval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from reasonir.types import Task


class Benchmark(Protocol):
    """One or more tasks that a retriever is judged on."""

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """Means over tasks that are reported, by their name; none is usual."""

    @property
    def headline(self) -> str:
        """The metric that counts; see `metrics.NAMES`."""

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """The tasks, in a fixed order; without `corpus` documents needn't be there, for judging run files.

        Raises:
            InputError: naming file, row, value and remedy.
        """
