"""Which of several systems is better, and how sure that is: paired over queries, stratified over tasks, Holm-corrected.

Per task a paired permutation test (Smucker et al., CIKM 2007); over all tasks the same with the statistic that
benchmarks report, the unweighted mean of task means, signs flipped query by query within each task. p values of one
kind (all tasks' tests; all overall tests) are corrected together by Holm's step-down procedure.
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
    """Two systems on one task, or over all: first minus second, its 95% CI, p before and after correction."""

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
        """Plain values."""
        return asdict(self)


def compare(systems: Mapping[str, Mapping[str, PerQuery]], metric: str, *, seed: int = 0) -> list[PairwiseComparison]:
    """Every pair of systems on every task they share, then over all tasks.

    Args:
        systems: name -> task -> query -> metric -> value.
        metric: what is compared.
        seed: draws permutations and resamples.

    Raises:
        InputError: no common task, other queries in a common task, or an unknown metric.
    """
    shared = [task for task in next(iter(systems.values())) if all(task in tasks for tasks in systems.values())]
    if not shared:
        raise InputError(f"the runs {', '.join(systems)} have no task in common: judge them on the same eval=")
    found = []
    for first, second in combinations(systems, 2):
        pairs = {task: _aligned(systems, first, second, task, metric) for task in shared}
        found += [_contrast(task, first, second, [pair], seed) for task, pair in pairs.items()]
        official = [pair for task, pair in pairs.items() if not _is_corrected(task, shared)]
        if len(official) > 1:
            found.append(_contrast(OVERALL, first, second, official, seed))
    found.sort(key=lambda contrast: contrast.task == OVERALL)
    return [each for _, kind in groupby(found, lambda c: c.task == OVERALL) for each in _holm(list(kind))]


def changed_queries(
    systems: Mapping[str, Mapping[str, PerQuery]], contrast: PairwiseComparison, metric: str
) -> Iterator[tuple[str, float]]:
    """(query, first minus second) of a contrast's task, the largest wins first."""
    first, second = systems[contrast.first][contrast.task], systems[contrast.second][contrast.task]
    changes = ((query, first[query][metric] - second[query][metric]) for query in first)
    return iter(sorted(changes, key=lambda change: -change[1]))


def _is_corrected(task: str, tasks: Sequence[str]) -> bool:
    """Whether a task is another one judged again."""
    return any(task == f"{other}_{CORRECTED}" for other in tasks)


def _aligned(
    systems: Mapping[str, Mapping[str, PerQuery]], first: str, second: str, task: str, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    one, other = systems[first][task], systems[second][task]
    if one.keys() != other.keys():
        odd = min(one.keys() ^ other.keys())
        raise InputError(
            f"task {task}: query {odd!r} was judged for only one of {first} and {second}: judge them alike"
        )
    try:
        return (
            np.array([one[query][metric] for query in one]),
            np.array([other[query][metric] for query in one]),
        )
    except KeyError as error:
        raise InputError(f"metric={metric}: there is {', '.join(next(iter(one.values())))}") from error


def _contrast(
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


def _holm(contrasts: Sequence[PairwiseComparison]) -> list[PairwiseComparison]:
    """The same with corrected p values."""
    order = sorted(range(len(contrasts)), key=lambda number: contrasts[number].p)
    corrected = [0.0] * len(contrasts)
    highest = 0.0
    for rank, number in enumerate(order):
        highest = max(highest, min(1.0, (len(contrasts) - rank) * contrasts[number].p))
        corrected[number] = highest
    return [replace(contrast, p_holm=p) for contrast, p in zip(contrasts, corrected, strict=True)]
