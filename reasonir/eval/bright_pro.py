"""BRIGHT-Pro (Zhao et al. 2026, arXiv:2605.04018): seven splits whose queries are judged aspect by aspect.

Its layout is BRIGHT's, with a third configuration `aspects`: id, weight from 1 to 3, and the documents that cover the
aspect. The main metric is alpha-nDCG@25 (alpha .5), then weighted aspect recall@25 (`eval.stats.aspect_metrics`),
averaged over the splits without weights. A query's aspects are those of its relevant documents; their weights are
divided by the sum over all aspects of the query, as in the authors' bright_pro_data.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from reasonir.data.files.bright import GROUPS, files_of, ids_of
from reasonir.data.files.records import id_of, read
from reasonir.errors import InputError
from reasonir.eval.bright import Bright
from reasonir.eval.leaderboard import BOARDS
from reasonir.eval.stats.aspect_metrics import ALPHA_NDCG
from reasonir.types import Aspect, Task
from reasonir.utils.values import check_number

_NUMBER = re.compile(r"-(?:a|aspect-)\d+$")


@dataclass(frozen=True, slots=True)
class BrightPro(Bright):
    """The splits of BRIGHT-Pro as tasks."""

    title: ClassVar[str] = "BRIGHT-Pro"
    kinds: ClassVar[Mapping[str, Sequence[str]]] = {"stackexchange": GROUPS["stackexchange"]}
    long_splits: ClassVar[Sequence[str]] = ()
    boards: ClassVar[Path] = BOARDS
    corrects: ClassVar[bool] = False

    path: str = "yale-nlp/Bright-Pro"
    revision: str | None = "dbdc22ba"
    protocol: Literal["bright-pro"] = "bright-pro"  # type: ignore[assignment]
    long: Literal[False] = False

    @property
    def headline(self) -> str:
        """The main metric."""
        return self.metric or ALPHA_NDCG

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield one task per split, with its queries' aspects."""
        folder = self.folder()
        for task in Bright.tasks(self, corpus=corpus):
            yield replace(task, aspects=_aspects(folder, task))


def _aspects(folder: Path, task: Task) -> dict[str, list[Aspect]]:
    """Return the aspects of a split's queries.

    Raises:
        InputError: a malformed row, or a query whose relevant documents belong to no aspect.
    """
    files = files_of(folder, "aspects", task.name)
    if not files:
        raise InputError(f"{folder} has no aspects of split {task.name}: fetch it again")
    documents: dict[str, str] = {}
    weights: dict[str, float] = {}
    total: dict[str, float] = defaultdict(float)
    for file in files:
        for record in read(file):
            aspect = id_of(record)
            weights[aspect] = check_number(record.values.get("weight"), f"{record.location}: 'weight'", low=0)
            total[_NUMBER.sub("", aspect)] += weights[aspect]
            documents |= dict.fromkeys(ids_of(record, "supporting_docs"), aspect)
    found: dict[str, list[Aspect]] = {}
    for query_id, labels in task.qrels.items():
        members: dict[str, set[str]] = defaultdict(set)
        for doc_id in labels:
            if doc_id in documents:
                members[documents[doc_id]].add(doc_id)
        found[query_id] = [
            Aspect(weights[aspect] / total[_NUMBER.sub("", aspect)], frozenset(doc_ids))
            for aspect, doc_ids in members.items()
        ]
        if not any(aspect.weight for aspect in found[query_id]):
            raise InputError(
                f"{files[0]}: no aspect with a weight lists a relevant document of query {query_id!r} of {task.name}: "
                "fetch the file again"
            )
    return found
