"""Benchmark on the held-out test queries of the training data, searched over all its documents.

The data is always the run's: training uses its own data, `reasonir.evaluate run=...` that of the run, refused if it
changed since. So no share, seed or changed file can leak a training pair into the test. A source may bring its own test
queries; otherwise `loader.test_size` of the queries are held out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from reasonir.data.base import HeldOut, Source, Tested
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.types import Task


@dataclass(frozen=True, slots=True)
class SourceTestSplit(Benchmark):
    """The test tasks of the run's data.

    Attributes:
        source: the data source; None if neither a run nor data is named.
        held_out: the opened data; None limits the tasks to the source's own test queries.
    """

    source: Source | None
    held_out: HeldOut | None = None

    @property
    def needs_held_out(self) -> bool:
        """Always True."""
        return True

    def with_held_out(self, data: HeldOut) -> Self:
        """See `Benchmark.with_held_out`."""
        return replace(self, held_out=data)

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield one task per source with test queries of its own, or one of the held-out queries.

        Raises:
            InputError: there is no data, or it has no test queries.
        """
        if self.source is None:
            raise InputError(
                "eval=test_split evaluates on a run's own data: name a run (run=outputs/...) or give data="
            )
        data = self.held_out or self.source
        tasks = list(data.tests()) if isinstance(data, Tested) else []
        if not tasks:
            raise InputError(
                f"eval=test_split: {self.source.name} keeps no test queries: set loader.test_size (or "
                "data.splits, where the data has them) above 0, or choose another eval="
            )
        yield from tasks
