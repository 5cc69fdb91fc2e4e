"""Confidence intervals (bootstrap over queries) and paired permutation tests (Smucker et al., CIKM 2007)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 9999
_BATCH = 256


class Interval(NamedTuple):
    """Mean with its 95 % percentile bootstrap interval over queries."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """Mean difference of two systems over the same queries, with its two-sided p value."""

    delta: float
    p: float


def interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    """Return the mean of per-query values with its confidence interval."""
    from scipy.stats import bootstrap

    array = np.asarray(values, dtype=float)
    if len(array) < 2 or np.ptp(array) == 0:
        return Interval(float(array.mean()), float(array.mean()), float(array.mean()))
    bounds = bootstrap(
        (array,),
        np.mean,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
        batch=999,
    ).confidence_interval
    return Interval(float(array.mean()), float(bounds.low), float(bounds.high))


def stratified_interval(strata: Sequence[Sequence[float]], *, seed: int = 0) -> Interval:
    """Return the unweighted mean of tasks' means with its confidence interval, queries resampled within each task."""
    draw = np.random.default_rng(seed)
    arrays = [np.asarray(values, dtype=float) for values in strata]
    resampled = []
    for start in range(0, RESAMPLES, _BATCH):
        count = min(_BATCH, RESAMPLES - start)
        means = [array[draw.integers(0, len(array), (count, len(array)))].mean(1) for array in arrays]
        resampled.append(np.mean(means, 0))
    low, high = np.quantile(np.concatenate(resampled), [0.025, 0.975])
    return Interval(float(np.mean([array.mean() for array in arrays])), float(low), float(high))


def difference(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Difference:
    """Return the mean of first minus second, and the two-sided p value of the paired permutation test.

    Args:
        first: one value per query.
        second: the other system's values for the same queries, in the same order.
        seed: seed of the permutations (exhaustive if there are few).
    """
    from scipy.stats import permutation_test

    delta = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if len(delta) < 2 or not delta.any():
        return Difference(float(delta.mean()), 1.0)
    test = permutation_test(
        (delta,),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
        batch=999,
    )
    return Difference(float(delta.mean()), float(test.pvalue))


def stratified_difference(deltas: Sequence[Sequence[float]], *, seed: int = 0) -> Difference:
    """Return the unweighted mean of tasks' mean differences, and its two-sided p value by a paired permutation test.

    Args:
        deltas: differences of two systems by task, one per query; signs are flipped per query within each task.
        seed: seed of the signs.
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
