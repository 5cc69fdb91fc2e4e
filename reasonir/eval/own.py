"""What the training data's own source keeps back for testing, searched over all its documents.

The source isn't chosen here: it is the run's. Training takes the one it trains on, `reasonir.evaluate run=...` the one
that run was trained on, as long as it still gives what it gave then. So no share, seed or changed file can put a
pair that was trained on into the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reasonir.data.base import Source, Tested
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.types import Task


@dataclass(frozen=True, slots=True)
class Own(Benchmark):
    """The test tasks of a source."""

    source: Source | None

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """One task a source that keeps queries back.

        Raises:
            InputError: there is no source, or it keeps none.
        """
        if self.source is None:
            raise InputError("eval=own judges on what a source keeps back: name a run (run=outputs/...) or give data=")
        found = list(self.source.tests()) if isinstance(self.source, Tested) else []
        if not found:
            raise InputError(
                f"eval=own: the source {self.source.name} keeps no test queries: give it a test share "
                "(data.splits=[0.8,0.1,0.1] where it has one), or choose another eval="
            )
        yield from found
