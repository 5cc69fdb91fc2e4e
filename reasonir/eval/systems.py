"""Evaluation of systems: each ranks every task, and its run is scored against the task's judgements.

A system is a function from a task to a run. The baselines of a trained model are `random` (random order), `bm25`
(lexical search) and `untrained` (the model before training).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from reasonir.errors import InputError
from reasonir.eval.results import Results
from reasonir.eval.stats import aspect_metrics, ranking_metrics
from reasonir.eval.trec import ordered, read_run
from reasonir.index.base import Index, excluded_positions
from reasonir.types import Run, Task

System = Callable[[Task], Run]
CORRECTED = "corrected"
"""Name of judgements that correct mistakes of the official ones."""


def search_system(index: Index, *, depth: int) -> System:
    """Return the system that searches a task's corpus with an index, or orders its candidates if it has any."""

    def rank(task: Task) -> Run:
        index.build(task.corpus)
        if not task.candidates:
            return index.search(task.queries, depth, exclude=task.excluded)
        run: Run = {}
        for query, docs in open_candidates(task).items():  # one at a time, since every document is ranked
            scores = index.search({query: task.queries[query]}, len(task.corpus))[query]
            run[query] = {doc: scores.get(doc, 0.0) for doc in docs}
        return run

    return rank


def open_candidates(task: Task) -> dict[str, list[str]]:
    """Return the candidates of every query of a task, in the order of its queries, without excluded documents."""
    return {
        query: [doc for doc in task.candidates.get(query, ()) if doc not in task.excluded.get(query, frozenset())]
        for query in task.queries
    }


def random_system(*, depth: int, seed: int) -> System:
    """Return the system that ranks in random order."""

    def rank(task: Task) -> Run:
        draw = np.random.default_rng(seed)
        run: Run = {}
        if task.candidates:
            for query, docs in open_candidates(task).items():
                run[query] = {docs[index]: 1.0 / rank for rank, index in enumerate(draw.permutation(len(docs)), 1)}
            return run
        excluded = excluded_positions(list(task.queries), task.corpus, task.excluded)
        for query_id, indices in zip(task.queries, excluded, strict=True):
            allowed = np.setdiff1d(np.arange(len(task.corpus)), indices)
            chosen = draw.permutation(allowed)[:depth]
            run[query_id] = {task.corpus.ids[index]: 1.0 / rank for rank, index in enumerate(chosen.tolist(), 1)}
        return run

    return rank


def run_file_system(files: Mapping[str, Path], *, depth: int) -> System:
    """Return the system that reads its rankings from run files, by task name.

    Excluded documents are removed before the cut, ties at the cut are broken as in trec_eval.
    """

    def rank(task: Task) -> Run:
        ranked = read_run(files[task.name])
        if not ranked.keys() & task.queries.keys():
            raise InputError(f"{files[task.name]} ranks none of the queries of task {task.name}: is it another task's?")
        run: Run = {}
        for query_id in task.queries:
            excluded = task.excluded.get(query_id, frozenset())
            allowed = {doc: score for doc, score in ranked.get(query_id, {}).items() if doc not in excluded}
            run[query_id] = dict(ordered(allowed)[:depth])
        return run

    return rank


def evaluate_systems(
    tasks: Sequence[Task], systems: Mapping[str, System], results: Results, *, searched: bool = True
) -> Results:
    """Rank every task with every system and add runs and values to `results`; each corpus is searched once.

    Args:
        tasks: tasks to evaluate on.
        systems: systems by name.
        results: receives runs and values.
        searched: False if systems don't search the tasks' documents (run files).

    Raises:
        InputError: a task is invalid (see `check_task`).
    """
    for task in tasks:
        check_task(task, searched=searched)
    for together in _sharing(tasks):
        for name, system in systems.items():
            for task, run in zip(together, _ranked(together, system), strict=True):
                values = ranking_metrics.per_query(run, task.qrels, relevant_from=task.relevant_from)
                for query_id, further in aspect_metrics.per_query(run, task.aspects).items():
                    values[query_id] |= further
                results.add(task, name, run, values)
                for label, qrels in task.judgements.items():
                    results.add_values(f"{task.name}_{label}", name, ranking_metrics.per_query(run, qrels))
    return results


def _sharing(tasks: Sequence[Task]) -> list[list[Task]]:
    """Group the tasks by corpus, those with candidates apart."""
    groups: dict[tuple[int, bool], list[Task]] = {}
    for task in tasks:
        groups.setdefault((id(task.corpus), bool(task.candidates)), []).append(task)
    return list(groups.values())


def _ranked(together: Sequence[Task], system: System) -> list[Run]:
    """Return the system's runs of tasks with one corpus, ranking all their queries in one call."""
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
    """Raise on a task whose judgements and documents are inconsistent.

    Args:
        task: the task.
        searched: False if the task comes without its documents, as for run files.

    Raises:
        InputError: naming the query or document.
    """
    if searched and not len(task.corpus):
        raise InputError(f"task {task.name}: the corpus is empty: give at least one document")
    if not task.queries:
        raise InputError(f"task {task.name}: no query has judgements: choose a split that has")
    known = set(task.corpus.ids)
    for query_id in task.queries:
        query = f"task {task.name}: query {query_id!r}"
        if task.candidates and (missing := sorted(set(task.candidates.get(query_id, ())) - known)):
            raise InputError(f"{query} has candidate {missing[0]!r}, which isn't in the corpus: add or remove it")
        if task.verbatim:
            continue
        relevant = {doc_id for doc_id, label in task.qrels.get(query_id, {}).items() if label >= task.relevant_from}
        if not relevant:
            raise InputError(f"{query} has no relevant document: add a judgement or remove the query")
        if searched and (unknown := sorted(relevant - known)):
            raise InputError(
                f"{query} has relevant document {unknown[0]!r}, which isn't in the corpus: add or remove it"
            )
        if both := sorted(relevant & task.excluded.get(query_id, frozenset())):
            raise InputError(
                f"{query} excludes its relevant document {both[0]!r}: remove the exclusion or the judgement"
            )
