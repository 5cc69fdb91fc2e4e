"""Confidence intervals (bootstrap over queries) and paired permutation tests (Smucker et al., CIKM 2007).

Intervals are bias-corrected and accelerated (BCa; Efron 1987, doi:10.1080/01621459.1987.10478410), and wider for few
queries by what a t interval is wider than a normal one (Hesterberg 2015, arXiv:1411.5279): percentile intervals of ten
queries are too narrow. A single query, or equal values, have an interval without width.

Shape letters: B resamples, N values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 9999
_BATCH = 256
_LEVEL = 0.975


class Interval(NamedTuple):
    """Statistic with its 95 % bootstrap interval over queries."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """Mean difference of two systems over the same queries, with its two-sided p value."""

    delta: float
    p: float


def interval(values: Sequence[float], *, seed: int = 0) -> Interval:
    """Return the mean of per-query values with its confidence interval."""
    return stratified_interval([values], seed=seed)


def stratified_interval(strata: Sequence[Sequence[float]], *, seed: int = 0) -> Interval:
    """Return the unweighted mean of tasks' means with its confidence interval, queries resampled within each task."""
    arrays = [np.asarray(values, dtype=float) for values in strata]
    point = float(np.mean([array.mean() for array in arrays]))
    influences = [(array - array.mean()) / (len(array) * len(arrays)) for array in arrays]
    if not any(np.ptp(array) for array in arrays):
        return Interval(point, point, point)
    draw = np.random.default_rng(seed)
    resampled = []
    for start in range(0, RESAMPLES, _BATCH):
        count = min(_BATCH, RESAMPLES - start)
        means = [array[draw.integers(0, len(array), (count, len(array)))].mean(1) for array in arrays]
        resampled.append(np.mean(means, 0))
    return bca_interval(point, np.concatenate(resampled), influences)


def bca_interval(point: float, draws_B: Floats, influences: Sequence[Floats]) -> Interval:
    """Return a statistic with its BCa interval.

    Args:
        point: the statistic.
        draws_B: its values under resampling, at least one of them finite.
        influences: how much each value, by stratum, contributes to the statistic's deviation, in any unit.
    """
    from scipy.stats import norm

    finite_B = draws_B[np.isfinite(draws_B)]
    below = ((finite_B < point).sum() + (finite_B <= point).sum()) / 2
    bias = norm.ppf((below + 0.5) / (len(finite_B) + 1))
    squares = sum(float((u_N**2).sum()) for u_N in influences)
    acceleration = sum(float((u_N**3).sum()) for u_N in influences) / (6 * squares**1.5) if squares else 0.0
    shifts = bias + np.array([-1, 1]) * normal_quantile(influences)
    low, high = np.quantile(finite_B, norm.cdf(bias + shifts / (1 - acceleration * shifts)))
    return Interval(point, float(low), float(high))


def normal_quantile(influences: Sequence[Floats]) -> float:
    """Return how many standard deviations of bootstrap draws half a 95% interval of few values is wide.

    They are those of Student's t, with the degrees of freedom by Welch and Satterthwaite, over the share of the
    variance that resampling shows.
    """
    from scipy.stats import norm, t

    shown_S = np.array([float((u_N**2).sum()) for u_N in influences])
    count_S = np.array([len(u_N) for u_N in influences])
    known_S = (count_S > 1) & (shown_S > 0)
    shown_S, count_S = shown_S[known_S], count_S[known_S]
    if not len(shown_S):
        return float(norm.ppf(_LEVEL))
    variance_S = shown_S * count_S / (count_S - 1)
    freedom = variance_S.sum() ** 2 / (variance_S**2 / (count_S - 1)).sum()
    return float(t.ppf(_LEVEL, freedom) * np.sqrt(variance_S.sum() / shown_S.sum()))


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
