"""A collection in the BEIR layout as a benchmark (Thakur et al. 2021, arXiv:2104.08663), its whole corpus searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from reasonir.data.beir import read_task
from reasonir.eval.leaderboard import Leaderboard
from reasonir.types import Task


@dataclass(frozen=True, slots=True)
class Beir:
    """One split of a collection.

    Attributes:
        path: folder, or dataset repository on the hub.
        split: the judgements.
        revision: branch, tag or commit of a hub id.
    """

    path: str
    split: str = "test"
    revision: str | None = None
    groups: ClassVar[Mapping[str, Sequence[str]]] = {}
    leaderboard: ClassVar[Leaderboard] = Leaderboard()

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """The one task."""
        yield read_task(self.path, self.split, revision=self.revision, key="eval")
