"""What a benchmark is: named retrieval tasks. A new one is one file here and one YAML in conf/eval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from reasonir.types import Task


class Benchmark(Protocol):
    """One or more tasks that a retriever is judged on."""

    def tasks(self) -> Iterator[Task]:
        """The tasks, in a fixed order.

        Raises:
            InputError: naming file, row, value and remedy.
        """
