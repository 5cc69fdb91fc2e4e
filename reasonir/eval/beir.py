"""Benchmarks on collections in the BEIR layout (Thakur et al. 2021, arXiv:2104.08663), each corpus searched whole.

One collection, or several sets under one name: NanoBEIR, R2MED, LIMIT and others are options of conf/eval that state
where their sets are. A `*` in `path`, `split` or `subset` stands for a set's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import MinLen

from reasonir.data.beir import collection_name, read_task
from reasonir.data.files.beir import splits_of
from reasonir.data.files.hub import local_data
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.eval.leaderboard import BOARDS, Leaderboard, read_leaderboard
from reasonir.eval.results import HEADLINE
from reasonir.eval.stats.ranking_metrics import NAMES
from reasonir.types import Task
from reasonir.utils.ranges import Validated

_SET, _BEIR = "*", "BeIR"


@dataclass(frozen=True, slots=True)
class BeirBenchmark(Benchmark, Validated):
    """One split of each of the sets.

    Attributes:
        path: folder, or dataset repository on the hub.
        split: name of the qrels.
        revision: branch, tag or commit of a hub id, or those by set.
        subset: one of several collections in a repository.
        sets: names that take the place of `*`, or of the last part of `path` if there is no `*`; None for one
            collection, or with `split=*` for all splits of the repository.
        candidates: configuration of the repository that lists the documents to rank for each query; None to search.
        title: name of the benchmark, that of its mean over sets and of its published results; None for one collection.
        licence: licence of the data, recorded with the results.
        metric: the main metric.
        canary: public password of texts that are published encrypted.
        ignore_identical_ids: never rank the document with a query's id for it, unless it is relevant to it.
        strict: raise on what can't be evaluated, instead of leaving it out.
    """

    path: str = _BEIR
    split: str = "test"
    revision: str | Mapping[str, str | None] | None = None
    subset: str | None = None
    sets: Annotated[Sequence[str], MinLen(1)] | None = None
    candidates: str | None = None
    title: str | None = None
    licence: str | None = None
    metric: str = HEADLINE
    canary: str | None = None
    ignore_identical_ids: bool = True
    strict: bool = False

    def problems(self) -> Iterable[str]:
        """Unknown metrics, sets without a place for their names, and revisions of other sets."""
        if self.metric not in NAMES:
            yield f"metric={self.metric}: choose one of {', '.join(NAMES)}"
        if self.sets and len(set(self.sets)) < len(self.sets):
            yield f"sets={list(self.sets)}: name each set once"
        if not self.sets and self.path == _BEIR:
            yield f"path={self.path}: give the folder or hub id of a collection, or names of BEIR's: sets=[scifact,...]"
        elif not self.sets and (_SET in self.path or _SET in (self.subset or "")):
            yield f"sets=null: path={self.path} needs the names that replace its *: give sets=[...]"

    @property
    def headline(self) -> str:
        """The main metric."""
        return self.metric

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """The mean over the sets, under the benchmark's name."""
        return {self.title: [self._name(each) for each in self._sets()]} if self.title else {}

    @property
    def leaderboard(self) -> Leaderboard:
        """The benchmark's published results, if any are known."""
        return read_leaderboard(BOARDS, self.title) if self.title else Leaderboard()

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield one task per set."""
        for name in self._sets():
            revision = self.revision if isinstance(self.revision, str) else (self.revision or {}).get(name or "")
            task = read_task(
                self._place(name),
                self._fill(self.split, name),
                revision=revision,
                subset=self.subset and self._fill(self.subset, name),
                candidates=self.candidates,
                canary=self.canary,
                ignore_identical_ids=self.ignore_identical_ids,
                strict=self.strict,
                key="eval",
            )
            known = {"benchmark": self.title, "licence": self.licence}
            stamped = {key: value for key, value in known.items() if value}
            yield replace(task, name=self._name(name), protocol={**stamped, **task.protocol})

    def _sets(self) -> Sequence[str | None]:
        if self.sets is None and self.split == _SET:
            folder = local_data(
                self.path, revision=self.revision if isinstance(self.revision, str) else None, key="eval.path"
            )
            if not (splits := splits_of(folder)):
                raise InputError(f"eval.path={self.path}: {folder} has no queries/ with a file per set: give eval.sets")
            return splits
        return self.sets or [None]

    def _place(self, name: str | None) -> str:
        """Return the path of a set."""
        if name is None or any(_SET in (text or "") for text in (self.path, self.split, self.subset)):
            return self._fill(self.path, name)
        return f"{self.path}/{name}"

    def _fill(self, text: str, name: str | None) -> str:
        return text if name is None else text.replace(_SET, name)

    def _name(self, name: str | None) -> str:
        return collection_name(self.path, self.subset) if name is None else name
