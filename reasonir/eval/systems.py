"""Judging retrieval: every system ranks every task, beside the baselines that give a figure its meaning.

A system is anything that turns a task into a run. Beside a model stand `random` (what ranking by chance scores),
`bm25` (what words alone score) and `untrained` (what training started from).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from reasonir.errors import InputError
from reasonir.eval.results import Results
from reasonir.eval.stats import ranking_metrics
from reasonir.eval.trec import ordered, read_run
from reasonir.index.base import Index, excluded_positions
from reasonir.types import Run, Task

System = Callable[[Task], Run]
CORRECTED = "corrected"
"""The name of judgements in which mistakes of the official ones are mended."""


def search_system(index: Index, *, depth: int) -> System:
    """The system that ranks a task by an index."""

    def rank(task: Task) -> Run:
        index.build(task.corpus)
        if not task.candidates:
            return index.search(task.queries, depth, exclude=task.excluded)
        run: Run = {}
        for query, docs in open_candidates(task).items():  # one at a time, since every document is ranked
            found = index.search({query: task.queries[query]}, len(task.corpus))[query]
            run[query] = {doc: found.get(doc, 0.0) for doc in docs}
        return run

    return rank


def open_candidates(task: Task) -> dict[str, list[str]]:
    """The candidates of every query of a task, in the order of its queries, without those it excludes."""
    return {
        query: [doc for doc in task.candidates.get(query, ()) if doc not in task.excluded.get(query, frozenset())]
        for query in task.queries
    }


def random_system(*, depth: int, seed: int) -> System:
    """The system that ranks by chance."""

    def rank(task: Task) -> Run:
        draw = np.random.default_rng(seed)
        run: Run = {}
        if task.candidates:
            for query, docs in open_candidates(task).items():
                run[query] = {docs[place]: 1.0 / rank for rank, place in enumerate(draw.permutation(len(docs)), 1)}
            return run
        excluded = excluded_positions(list(task.queries), task.corpus, task.excluded)
        for query_id, places in zip(task.queries, excluded, strict=True):
            allowed = np.setdiff1d(np.arange(len(task.corpus)), places)
            chosen = draw.permutation(allowed)[:depth]
            run[query_id] = {task.corpus.ids[place]: 1.0 / rank for rank, place in enumerate(chosen.tolist(), 1)}
        return run

    return rank


def replaying(files: Mapping[str, Path], *, depth: int) -> System:
    """The system whose rankings of tasks lie in run files, by the task's name.

    Excluded documents are removed before the cut, ties at the cut fall as trec_eval has them.
    """

    def rank(task: Task) -> Run:
        found = read_run(files[task.name])
        if not found.keys() & task.queries.keys():
            raise InputError(f"{files[task.name]} ranks none of the queries of task {task.name}: is it another task's?")
        run: Run = {}
        for query_id in task.queries:
            excluded = task.excluded.get(query_id, frozenset())
            allowed = {doc: score for doc, score in found.get(query_id, {}).items() if doc not in excluded}
            run[query_id] = dict(ordered(allowed)[:depth])
        return run

    return rank


def evaluate_systems(
    tasks: Sequence[Task], systems: Mapping[str, System], results: Results, *, searched: bool = True
) -> Results:
    """Let every system rank every task and add what came out to `results`; one corpus is searched once.

    Args:
        tasks: what is judged.
        systems: who, by name.
        results: takes what is found.
        searched: whether systems search the tasks' documents (run files don't).

    Raises:
        InputError: a task that can't be judged (see `check_task`).
    """
    for task in tasks:
        check_task(task, searched=searched)
    for together in _sharing(tasks):
        for name, system in systems.items():
            for task, run in zip(together, _ranked(together, system), strict=True):
                values = ranking_metrics.per_query(run, task.qrels, relevant_from=task.relevant_from)
                results.add(task, name, run, values)
                for label, qrels in task.judgements.items():
                    results.add_values(f"{task.name}_{label}", name, ranking_metrics.per_query(run, qrels))
    return results


def _sharing(tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks, those with the very same corpus together, and apart those that name candidates."""
    groups: dict[tuple[int, bool], list[Task]] = {}
    for task in tasks:
        groups.setdefault((id(task.corpus), bool(task.candidates)), []).append(task)
    return list(groups.values())


def _ranked(together: Sequence[Task], system: System) -> list[Run]:
    """What the system makes of tasks with one corpus, asked for all their queries at once."""
    if len(together) == 1:
        return [system(together[0])]
    names = {
        (number, query_id): f"{number}:{query_id}" for number, task in enumerate(together) for query_id in task.queries
    }
    queries = {names[n, q]: text for n, task in enumerate(together) for q, text in task.queries.items()}
    excluded = {names[n, q]: ids for n, task in enumerate(together) for q, ids in task.excluded.items()}
    candidates = {names[n, q]: ids for n, task in enumerate(together) for q, ids in task.candidates.items()}
    run = system(replace(together[0], queries=queries, excluded=excluded, candidates=candidates))
    return [{q: run.get(names[n, q], {}) for q in task.queries} for n, task in enumerate(together)]


def check_task(task: Task, *, searched: bool = True) -> None:
    """Refuse a task whose judgements and documents don't fit together.

    Args:
        task: the task.
        searched: whether its documents are to be there; run files are judged without.

    Raises:
        InputError: naming the query or document.
    """
    if searched and not len(task.corpus):
        raise InputError(f"task {task.name}: the corpus is empty: give at least one document")
    if not task.queries:
        raise InputError(f"task {task.name}: no query is judged: give a split that is")
    known = set(task.corpus.ids)
    for query_id in task.queries:
        relevant = {doc_id for doc_id, label in task.qrels.get(query_id, {}).items() if label >= task.relevant_from}
        if not relevant:
            raise InputError(f"task {task.name}: query {query_id!r} has no relevant document: judge one or remove it")
        if searched and (unknown := sorted(relevant - known)):
            raise InputError(f"task {task.name}: query {query_id!r} wants {unknown[0]!r}, which isn't in the corpus")
        if task.candidates and (missing := sorted(set(task.candidates.get(query_id, ())) - known)):
            raise InputError(f"task {task.name}: query {query_id!r} has candidate {missing[0]!r}, not in the corpus")
        if both := sorted(relevant & task.excluded.get(query_id, frozenset())):
            raise InputError(f"task {task.name}: query {query_id!r} both wants and excludes {both[0]!r}")
