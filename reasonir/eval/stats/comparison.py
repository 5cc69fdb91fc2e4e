"""Pairwise comparison of systems: paired over queries, stratified over tasks, Holm-corrected.

Per task a paired permutation test (Smucker et al., CIKM 2007); over all tasks the same test of the unweighted mean of
task means, with signs flipped per query within each task. p values of one kind (all tasks' tests; all overall tests)
are corrected together by Holm's step-down procedure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, groupby
from typing import Any

import numpy as np

from reasonir.errors import InputError
from reasonir.eval.stats.ranking_metrics import PerQuery
from reasonir.eval.stats.significance import difference, interval, stratified_difference, stratified_interval
from reasonir.eval.systems import CORRECTED

OVERALL = "all tasks"
_BATCH = 256


@dataclass(frozen=True, slots=True)
class PairwiseComparison:
    """Comparison of two systems on a task or over all: first minus second, 95% CI, p before and after correction."""

    task: str
    first: str
    second: str
    mean_first: float
    mean_second: float
    delta: float
    low: float
    high: float
    p: float
    p_holm: float
    wins: int
    losses: int
    ties: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)


def compare(systems: Mapping[str, Mapping[str, PerQuery]], metric: str, *, seed: int = 0) -> list[PairwiseComparison]:
    """Compare every pair of systems on every task they share, then over all tasks.

    Args:
        systems: name -> task -> query -> metric -> value.
        metric: the metric to compare.
        seed: seed of permutations and resamples.

    Raises:
        InputError: no common task, other queries in a common task, or an unknown metric.
    """
    shared = [task for task in next(iter(systems.values())) if all(task in tasks for tasks in systems.values())]
    if not shared:
        raise InputError(f"the runs {', '.join(systems)} have no task in common: evaluate them with the same eval=")
    comparisons = []
    for first, second in combinations(systems, 2):
        pairs = {task: _aligned(systems, first, second, task, metric) for task in shared}
        comparisons += [_compare_pair(task, first, second, [pair], seed) for task, pair in pairs.items()]
        official = [pair for task, pair in pairs.items() if not _is_corrected(task, shared)]
        if len(official) > 1:
            comparisons.append(_compare_pair(OVERALL, first, second, official, seed))
    comparisons.sort(key=lambda comparison: comparison.task == OVERALL)
    return [each for _, kind in groupby(comparisons, lambda c: c.task == OVERALL) for each in _holm(list(kind))]


def changed_queries(
    systems: Mapping[str, Mapping[str, PerQuery]], comparison: PairwiseComparison, metric: str
) -> Iterator[tuple[str, float]]:
    """Yield (query, first minus second) of a comparison's task, the largest wins first."""
    first, second = systems[comparison.first][comparison.task], systems[comparison.second][comparison.task]
    changes = ((query, first[query][metric] - second[query][metric]) for query in first)
    return iter(sorted(changes, key=lambda change: -change[1]))


def _is_corrected(task: str, tasks: Sequence[str]) -> bool:
    """True if a task is another one scored by corrected judgements."""
    return any(task == f"{other}_{CORRECTED}" for other in tasks)


def _aligned(
    systems: Mapping[str, Mapping[str, PerQuery]], first: str, second: str, task: str, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    one, other = systems[first][task], systems[second][task]
    if one.keys() != other.keys():
        odd = min(one.keys() ^ other.keys())
        raise InputError(
            f"task {task}: query {odd!r} was evaluated for only one of {first} and {second}: evaluate both on the same "
            "queries"
        )
    try:
        return (
            np.array([one[query][metric] for query in one]),
            np.array([other[query][metric] for query in one]),
        )
    except KeyError as error:
        raise InputError(f"metric={metric}: choose one of {', '.join(next(iter(one.values())))}") from error


def _compare_pair(
    task: str, first: str, second: str, pairs: Sequence[tuple[np.ndarray, np.ndarray]], seed: int
) -> PairwiseComparison:
    deltas = [one - other for one, other in pairs]
    together = np.concatenate(deltas)
    if len(deltas) == 1:
        span, p = interval(deltas[0].tolist(), seed=seed), difference(*map(np.ndarray.tolist, pairs[0]), seed=seed).p
    else:
        by_task = [delta.tolist() for delta in deltas]
        span, p = stratified_interval(by_task, seed=seed), stratified_difference(by_task, seed=seed).p
    return PairwiseComparison(
        task=task,
        first=first,
        second=second,
        mean_first=float(np.mean([one.mean() for one, _ in pairs])),
        mean_second=float(np.mean([other.mean() for _, other in pairs])),
        delta=span.mean,
        low=span.low,
        high=span.high,
        p=p,
        p_holm=p,
        wins=int((together > 0).sum()),
        losses=int((together < 0).sum()),
        ties=int((together == 0).sum()),
    )


def _holm(comparisons: Sequence[PairwiseComparison]) -> list[PairwiseComparison]:
    """Return the comparisons with corrected p values."""
    order = sorted(range(len(comparisons)), key=lambda number: comparisons[number].p)
    corrected = [0.0] * len(comparisons)
    highest = 0.0
    for rank, number in enumerate(order):
        highest = max(highest, min(1.0, (len(comparisons) - rank) * comparisons[number].p))
        corrected[number] = highest
    return [replace(comparison, p_holm=p) for comparison, p in zip(comparisons, corrected, strict=True)]
