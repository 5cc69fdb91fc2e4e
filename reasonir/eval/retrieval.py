"""Judging retrieval: every system ranks every task, beside the baselines that give a figure its meaning.

A system is anything that turns a task into a run. Beside a model stand `random` (what ranking by chance scores),
`bm25` (what words alone score) and `untrained` (what training started from).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from reasonir.errors import InputError
from reasonir.eval import metrics
from reasonir.eval.results import Results
from reasonir.index.base import Index, excluded_places
from reasonir.types import Run, Task

System = Callable[[Task], Run]


def searching(index: Index, *, depth: int) -> System:
    """The system that ranks a task by an index."""

    def rank(task: Task) -> Run:
        index.build(task.corpus)
        return index.search(task.queries, depth, exclude=task.excluded)

    return rank


def guessing(*, depth: int, seed: int) -> System:
    """The system that ranks by chance."""

    def rank(task: Task) -> Run:
        draw = np.random.default_rng(seed)
        run: Run = {}
        excluded = excluded_places(list(task.queries), task.corpus, task.excluded)
        for query_id, places in zip(task.queries, excluded, strict=True):
            allowed = np.setdiff1d(np.arange(len(task.corpus)), places)
            chosen = draw.permutation(allowed)[:depth]
            run[query_id] = {task.corpus.ids[place]: 1.0 / rank for rank, place in enumerate(chosen.tolist(), 1)}
        return run

    return rank


def evaluate(tasks: Iterable[Task], systems: Mapping[str, System], results: Results) -> Results:
    """Let every system rank every task and add what came out to `results`.

    Raises:
        InputError: a task that can't be judged (see `check_task`).
    """
    for task in tasks:
        check_task(task)
        for name, system in systems.items():
            run = system(task)
            results.add(task, name, run, metrics.per_query(run, task.qrels))
    return results


def check_task(task: Task) -> None:
    """Refuse a task whose judgements and documents don't fit together.

    Raises:
        InputError: naming the query or document.
    """
    if not len(task.corpus):
        raise InputError(f"task {task.name}: the corpus is empty: give at least one document")
    if not task.queries:
        raise InputError(f"task {task.name}: no query is judged: give a split that is")
    known = set(task.corpus.ids)
    for query_id in task.queries:
        relevant = {doc_id for doc_id, label in task.qrels.get(query_id, {}).items() if label > 0}
        if not relevant:
            raise InputError(f"task {task.name}: query {query_id!r} has no relevant document: judge one or remove it")
        if unknown := sorted(relevant - known):
            raise InputError(f"task {task.name}: query {query_id!r} wants {unknown[0]!r}, which isn't in the corpus")
        if both := sorted(relevant & task.excluded.get(query_id, frozenset())):
            raise InputError(f"task {task.name}: query {query_id!r} both wants and excludes {both[0]!r}")
