"""Evaluation on queries of the training data that were kept for testing, searched over all its documents.

The data isn't chosen here: it is the run's. Training takes the one it trains on, `reasonir.evaluate run=...` the one
that run was trained on, as long as it still gives what it gave then. So no share, seed or changed file can put a pair
that was trained on into the test. A source may keep test queries itself; otherwise `loader.test_size` of them are held
out.
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
        source: where the data comes from; None where neither a run nor data is named.
        held_out: the data itself, once it is open; without it, only what the source keeps by itself.
    """

    source: Source | None
    held_out: HeldOut | None = None

    @property
    def needs_held_out(self) -> bool:
        """Always."""
        return True

    def with_held_out(self, data: HeldOut) -> Self:
        """See `Benchmark.with_held_out`."""
        return replace(self, held_out=data)

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """One task for each source that keeps queries for testing, or one of the queries that were held out.

        Raises:
            InputError: there is no data, or it kept none.
        """
        if self.source is None:
            raise InputError(
                "eval=test_split evaluates on a run's own data: name a run (run=outputs/...) or give data="
            )
        data = self.held_out or self.source
        found = list(data.tests()) if isinstance(data, Tested) else []
        if not found:
            raise InputError(
                f"eval=test_split: {self.source.name} keeps no test queries: set loader.test_size (or "
                "data.splits, where the data has them) above 0, or choose another eval="
            )
        yield from found
