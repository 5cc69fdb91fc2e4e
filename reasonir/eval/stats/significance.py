"""How sure a figure is: bootstrap intervals over queries and paired permutation tests (Smucker et al., CIKM 2007)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 9999
_BATCH = 256


class Interval(NamedTuple):
    """A mean with its 95 % percentile bootstrap interval over queries."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """The mean difference of two systems over the same queries and how often chance alone gives one as large."""

    delta: float
    p: float


def interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    """The mean of per-query values and its interval."""
    from scipy.stats import bootstrap

    array = np.asarray(values, dtype=float)
    if len(array) < 2 or np.ptp(array) == 0:
        return Interval(float(array.mean()), float(array.mean()), float(array.mean()))
    found = bootstrap(
        (array,),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
        batch=999,
    ).confidence_interval
    return Interval(float(array.mean()), float(found.low), float(found.high))


def stratified_interval(strata: Sequence[Sequence[float]], *, seed: int = 0) -> Interval:
    """The unweighted mean of tasks' means and its interval, queries being resampled within each task."""
    draw = np.random.default_rng(seed)
    arrays = [np.asarray(values, dtype=float) for values in strata]
    resampled = []
    for start in range(0, RESAMPLES, _BATCH):
        count = min(_BATCH, RESAMPLES - start)
        means = [array[draw.integers(0, len(array), (count, len(array)))].mean(1) for array in arrays]
        resampled.append(np.mean(means, 0))
    low, high = np.quantile(np.concatenate(resampled), [0.025, 0.975])
    return Interval(float(np.mean([array.mean() for array in arrays])), float(low), float(high))


def difference(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> Difference:
    """Mean of ours minus theirs, and the two-sided p value of the paired permutation test.

    Args:
        ours: a value a query.
        theirs: the other system's values for the same queries, in the same order.
        seed: draws the permutations (all of them are tried where there are few).
    """
    from scipy.stats import permutation_test

    delta = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    if len(delta) < 2 or not delta.any():
        return Difference(float(delta.mean()), 1.0)
    found = permutation_test(
        (delta,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
        batch=999,
    )
    return Difference(float(delta.mean()), float(found.pvalue))


def stratified_difference(deltas: Sequence[Sequence[float]], *, seed: int = 0) -> Difference:
    """The unweighted mean of tasks' mean differences, and the two-sided p value of the paired permutation test.

    Args:
        deltas: a task's differences of two systems, a value a query; signs are drawn for the queries of each task.
        seed: draws them.
    """
    draw = np.random.default_rng(seed)
    arrays = [np.asarray(values, dtype=float) for values in deltas]
    observed = float(np.mean([array.mean() for array in arrays]))
    flipped = []
    for start in range(0, RESAMPLES, _BATCH):
        count = min(_BATCH, RESAMPLES - start)
        signs = [draw.integers(0, 2, (count, len(array))) * 2 - 1 for array in arrays]
        flipped.append(np.mean([(sign * array).mean(1) for sign, array in zip(signs, arrays, strict=True)], 0))
    extreme = np.abs(np.concatenate(flipped)) >= abs(observed) - 1e-12
    return Difference(observed, float((extreme.sum() + 1) / (RESAMPLES + 1)))
