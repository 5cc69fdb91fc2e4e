"""Benchmark on a collection in the BEIR layout (Thakur et al. 2021, arXiv:2104.08663), searching its whole corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reasonir.data.beir import read_task
from reasonir.eval.base import Benchmark
from reasonir.types import Task


@dataclass(frozen=True, slots=True)
class BeirBenchmark(Benchmark):
    """One split of a collection.

    Attributes:
        path: folder, or dataset repository on the hub.
        split: name of the qrels file.
        revision: branch, tag or commit of a hub id.
        ignore_identical_ids: never rank the document with a query's id for it, unless it is relevant to it.
        strict: raise on what can't be evaluated, instead of leaving it out.
    """

    path: str
    split: str = "test"
    revision: str | None = None
    ignore_identical_ids: bool = True
    strict: bool = False

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield the one task."""
        yield read_task(
            self.path,
            self.split,
            revision=self.revision,
            ignore_identical_ids=self.ignore_identical_ids,
            strict=self.strict,
            key="eval",
        )
