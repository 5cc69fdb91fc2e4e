"""Metrics of graded pairs: correlation, classification and calibration of scores against relevance.

Every metric is a function of query weights: all 1 for its value, multinomial draws for its confidence interval
(bootstrap over queries, since pairs of one query aren't independent), 0 and 1 for differences: under the null
hypothesis two systems may swap a query's predictions, so a permutation test weighs the pairs of both. Ties get their
mean rank, and undefined precision and recall are 0, as in scipy and scikit-learn; the calibration error has ten bins of
equal width (Guo et al. 2017, arXiv:1706.04599).

Shape letters: P pairs, Q queries, B sets of weights, G distinct values, J groups of queries, C bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reasonir.eval.stats.significance import Difference, Floats, Interval, bca_interval, normal_quantile

RESAMPLES = 999
BINS = 10
_GROUPS = 200
"""Groups of queries, at most, that are left out one by one for the skewness of a metric."""
_TOGETHER = 32
"""Sets of weights per block, which bounds memory."""


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Graded pairs with a system's scores.

    Attributes:
        query_P: index of the pair's query, from 0.
        relevance_P: the graded label.
        relevant_P: True for pairs that count as relevant.
        score_P: the system's score.
        probability_P: its probability of being relevant.
        threshold: least probability to predict relevance at, tuned on other pairs; or one per pair.
    """

    query_P: NDArray[np.int64]
    relevance_P: Floats
    relevant_P: NDArray[np.bool_]
    score_P: Floats
    probability_P: Floats
    threshold: float | Floats

    @property
    def queries(self) -> int:
        """Number of queries."""
        return int(self.query_P.max()) + 1


def figures(pairs: ScoredPairs, weight_BQ: Floats) -> dict[str, Floats]:
    """Return every metric for every set of weights, NaN if undefined."""
    values: dict[str, Floats] = {}
    for suffix, threshold in (("", 0.5), ("_tuned", pairs.threshold)):
        decided = _decided(pairs, threshold, weight_BQ)
        values |= {f"{name}{suffix}": values_B for name, values_B in decided.items()}
    squares_P = (pairs.probability_P - pairs.relevant_P) ** 2
    values["brier"] = _total(pairs, squares_P, weight_BQ) / _total(pairs, np.ones_like(squares_P), weight_BQ)
    values["ece"] = np.abs(_gaps(pairs, weight_BQ)).sum(1)
    for name, correlation in (("spearman", _spearman), ("kendall", _kendall)):
        correlation_Q = _by_query(pairs, correlation)
        known_Q = ~np.isnan(correlation_Q)
        with np.errstate(invalid="ignore"):
            means_B = (weight_BQ[:, known_Q] @ correlation_Q[known_Q]) / weight_BQ[:, known_Q].sum(1)
        values[f"{name}_by_query"] = means_B
    blocks = [weight_BQ[start : start + _TOGETHER] for start in range(0, len(weight_BQ), _TOGETHER)]
    values["auc"] = np.concatenate([_auc(pairs, block[:, pairs.query_P]) for block in blocks])
    values["spearman"] = np.concatenate([_pooled_spearman(pairs, block[:, pairs.query_P]) for block in blocks])
    return values


@dataclass(frozen=True, slots=True)
class BootstrapDraws:
    """Defined metrics of a system with their bootstrap draws, and their values without each group of queries."""

    pairs: ScoredPairs
    points: Mapping[str, float]
    draws: Mapping[str, Floats]
    without: Mapping[str, Floats]

    @classmethod
    def of(cls, pairs: ScoredPairs, *, seed: int = 0) -> BootstrapDraws:
        """Compute all metrics; Kendall's tau over all pairs has no draws."""
        count = pairs.queries
        drawn_BQ = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
        groups = min(count, _GROUPS)
        left_out_J = np.arange(groups if count > 1 else 0)
        without_JQ = (np.arange(count) % groups != left_out_J[:, None]).astype(float)
        values = figures(pairs, np.vstack([np.ones(count), drawn_BQ, without_JQ]))
        points = {name: float(value[0]) for name, value in values.items()}
        points["kendall"] = _kendall(pairs.relevance_P, pairs.score_P)
        defined = {name: value for name, value in values.items() if np.isfinite(value[0])}
        return cls(
            pairs,
            {name: value for name, value in points.items() if np.isfinite(value)},
            {name: value[1 : RESAMPLES + 1] for name, value in defined.items()},
            {name: value[RESAMPLES + 1 :] for name, value in defined.items()},
        )

    def intervals(self) -> dict[str, Interval]:
        """Return the 95% BCa interval of every metric with draws; the calibration error has its own."""
        intervals = {}
        for name, draws_B in self.draws.items():
            without_J = self.without[name][np.isfinite(self.without[name])]
            influences = [without_J.mean() - without_J] if len(without_J) else []
            intervals[name] = bca_interval(self.points[name], draws_B, influences)
        return intervals | {"ece": calibration_interval(self.pairs)}


def differences(first: ScoredPairs, second: ScoredPairs, *, seed: int = 0) -> dict[str, Difference]:
    """Return the defined metrics of one system minus another's on the same pairs, with two-sided p values.

    Scores count by their rank within their system, so that scores of any scale can be swapped.
    """
    count = first.queries
    kept_BQ = np.random.default_rng(seed).integers(0, 2, (RESAMPLES, count)).astype(float)
    kept_BQ = np.vstack([np.ones(count), kept_BQ])
    swapped_BQ = np.vstack([np.hstack([kept_BQ, 1 - kept_BQ]), np.hstack([1 - kept_BQ, kept_BQ])])
    differences = {}
    for name, value_B in figures(_stacked(first, second), swapped_BQ).items():
        gap_B = value_B[: len(kept_BQ)] - value_B[len(kept_BQ) :]
        if np.isfinite(gap_B[0]):
            finite_B = gap_B[np.isfinite(gap_B)]  # the observed one among them
            extreme = int((np.abs(finite_B) >= abs(gap_B[0]) - 1e-12).sum())
            differences[name] = Difference(float(gap_B[0]), extreme / len(finite_B))
    return differences


def _stacked(first: ScoredPairs, second: ScoredPairs) -> ScoredPairs:
    """Return the pairs of both systems, the queries of the second numbered after those of the first."""

    def joined(name: str) -> Any:
        return np.concatenate([getattr(first, name), getattr(second, name)])

    return ScoredPairs(
        query_P=np.concatenate([first.query_P, first.queries + second.query_P]),
        relevance_P=joined("relevance_P"),
        relevant_P=joined("relevant_P"),
        score_P=np.concatenate([_ranks(first.score_P), _ranks(second.score_P)]),
        probability_P=joined("probability_P"),
        threshold=np.concatenate([np.broadcast_to(each.threshold, each.score_P.shape) for each in (first, second)]),
    )


def calibration_interval(pairs: ScoredPairs, *, seed: int = 0) -> Interval:
    """Return the expected calibration error with its 95% interval, 0 included where perfect calibration is plausible.

    The error is a sum of absolute gaps, which noise alone makes positive. So the interval holds the errors under which
    the observed one is plausible: the gaps are scaled, the bootstrap's noise is added, and the smallest and the largest
    scale are those at which the observed error is at the 97.5 % and the 2.5 % quantile. The observed error is always
    included.
    """
    count = pairs.queries
    drawn_BQ = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    gap_BC = _gaps(pairs, np.vstack([np.ones(count), drawn_BQ]))
    gap_C, wide = gap_BC[0], normal_quantile([np.ones(count)]) / normal_quantile([])
    noise_BC = wide * (gap_BC[1:] - gap_C)
    error = float(np.abs(gap_C).sum())

    def scale_at(quantile: float) -> float:
        low, high = 0.0, 4.0
        if np.quantile(np.abs(noise_BC).sum(1), quantile) >= error:
            return 0.0
        for _ in range(40):
            scale = (low + high) / 2
            below = np.quantile(np.abs(scale * gap_C + noise_BC).sum(1), quantile) < error
            low, high = (scale, high) if below else (low, scale)
        return low

    return Interval(error, min(1.0, scale_at(0.975)) * error, min(1.0, max(1.0, scale_at(0.025)) * error))


def best_threshold(probability_P: Floats, relevant_P: NDArray[np.bool_]) -> float:
    """Return the probability threshold with the best F1, the highest of several."""
    values_G, group_P = np.unique(probability_P, return_inverse=True)
    predicted_G = np.bincount(group_P)[::-1].cumsum()[::-1]
    right_G = np.bincount(group_P, relevant_P)[::-1].cumsum()[::-1]
    f1_G = 2 * right_G / (predicted_G + relevant_P.sum())
    return float(values_G[len(f1_G) - 1 - int(f1_G[::-1].argmax())])


def logistic(score_P: Floats, relevant_P: NDArray[np.bool_]) -> Callable[[Floats], Floats]:
    """Fit the logistic curve from scores to probabilities on these pairs (Platt 1999)."""
    from scipy.optimize import minimize
    from scipy.special import expit

    middle, spread = score_P.mean(), score_P.std() or 1.0
    sign_P = np.where(relevant_P, 1.0, -1.0)

    def loss(curve: Floats) -> float:
        margin_P = sign_P * (curve[0] + curve[1] * (score_P - middle) / spread)
        return float(np.logaddexp(0, -margin_P).mean() + 1e-6 * (curve @ curve))  # bounded for separable pairs

    offset, slope = minimize(loss, np.zeros(2)).x
    return lambda scores: expit(offset + slope * (scores - middle) / spread)


def reliability(pairs: ScoredPairs) -> Iterator[dict[str, float]]:
    """Yield the non-empty probability bins: pairs, mean probability and share of relevant pairs."""
    bin_P = _bin(pairs.probability_P)
    for number in np.unique(bin_P).tolist():
        inside = bin_P == number
        yield {
            "from": number / BINS,
            "to": (number + 1) / BINS,
            "pairs": int(inside.sum()),
            "mean_probability": float(pairs.probability_P[inside].mean()),
            "share_relevant": float(pairs.relevant_P[inside].mean()),
        }


def levels(pairs: ScoredPairs) -> Iterator[dict[str, float]]:
    """Yield mean score, mean probability and share of pairs predicted relevant, for each relevance."""
    for relevance in np.unique(pairs.relevance_P).tolist():
        inside = pairs.relevance_P == relevance
        yield {
            "relevance": relevance,
            "pairs": int(inside.sum()),
            "mean_score": float(pairs.score_P[inside].mean()),
            "mean_probability": float(pairs.probability_P[inside].mean()),
            "called_relevant": float((pairs.probability_P[inside] >= 0.5).mean()),
            "called_relevant_tuned": float((pairs.probability_P[inside] >= pairs.threshold).mean()),
        }


def confusion(pairs: ScoredPairs, threshold: float | Floats) -> dict[str, int]:
    """Return the confusion matrix at a threshold."""
    predicted_P, relevant_P = pairs.probability_P >= threshold, pairs.relevant_P
    return {
        "true_positives": int((predicted_P & relevant_P).sum()),
        "false_positives": int((predicted_P & ~relevant_P).sum()),
        "false_negatives": int((~predicted_P & relevant_P).sum()),
        "true_negatives": int((~predicted_P & ~relevant_P).sum()),
    }


def _total(pairs: ScoredPairs, value_P: Floats, weight_BQ: Floats) -> Floats:
    """Return the weighted sum of a value over all pairs."""
    total_B: Floats = weight_BQ @ np.bincount(pairs.query_P, value_P, pairs.queries)
    return total_B


def _decided(pairs: ScoredPairs, threshold: float | Floats, weight_BQ: Floats) -> dict[str, Floats]:
    predicted_P, relevant_P = pairs.probability_P >= threshold, pairs.relevant_P
    hit_B, predicted_B, relevant_B = (
        _total(pairs, mask_P.astype(float), weight_BQ) for mask_P in (predicted_P & relevant_P, predicted_P, relevant_P)
    )
    right_B = _total(pairs, (predicted_P == relevant_P).astype(float), weight_BQ)
    all_B = _total(pairs, np.ones(len(relevant_P)), weight_BQ)
    return {
        "accuracy": right_B / all_B,
        "precision": hit_B / np.maximum(predicted_B, 1),
        "recall": hit_B / np.maximum(relevant_B, 1),
        "f1": 2 * hit_B / np.maximum(predicted_B + relevant_B, 1),
    }


def _bin(probability_P: Floats) -> NDArray[np.int64]:
    bin_P: NDArray[np.int64] = np.minimum((probability_P * BINS).astype(int), BINS - 1)
    return bin_P


def _gaps(pairs: ScoredPairs, weight_BQ: Floats) -> Floats:
    """Return gap_BC: mean probability minus share of relevant pairs of each bin, times the bin's share of the pairs."""
    gap_P, bin_P = pairs.probability_P - pairs.relevant_P, _bin(pairs.probability_P)
    gaps = [_total(pairs, np.where(bin_P == number, gap_P, 0), weight_BQ) for number in range(BINS)]
    gap_BC: Floats = np.stack(gaps, 1) / _total(pairs, np.ones_like(gap_P), weight_BQ)[:, None]
    return gap_BC


def _ranks(score_P: Floats) -> Floats:
    """Return the mid-ranks of scores."""
    from scipy.stats import rankdata

    ranks_P: Floats = rankdata(score_P)
    return ranks_P


def _by_value(value_P: Floats, weight_BP: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return (weight_BG of each distinct value, smallest first; group_P, the index of a pair's value)."""
    order_P = np.argsort(value_P, kind="stable")
    _, start_G, group_P = np.unique(value_P[order_P], return_index=True, return_inverse=True)
    index_P = np.empty_like(group_P)
    index_P[order_P] = group_P
    return np.add.reduceat(weight_BP[:, order_P], start_G, axis=1), index_P


def _auc(pairs: ScoredPairs, weight_BP: Floats) -> Floats:
    """Return the share of (relevant, irrelevant) couples in which the relevant pair scores higher, ties as half."""
    good_BG, _ = _by_value(pairs.score_P, weight_BP * pairs.relevant_P)
    bad_BG, _ = _by_value(pairs.score_P, weight_BP * ~pairs.relevant_P)
    below_BG = bad_BG.cumsum(1) - bad_BG / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        share_B: Floats = (good_BG * below_BG).sum(1) / (good_BG.sum(1) * bad_BG.sum(1))
    return share_B


def _pooled_spearman(pairs: ScoredPairs, weight_BP: Floats) -> Floats:
    """Return the correlation of the ranks of scores and relevances among all weighted pairs."""
    centred = []
    for value_P in (pairs.score_P, pairs.relevance_P):
        weight_BG, group_P = _by_value(value_P, weight_BP)
        rank_BP = (weight_BG.cumsum(1) - weight_BG / 2)[:, group_P]
        centred.append(rank_BP - weight_BP.sum(1, keepdims=True) / 2)
    first_BP, second_BP = centred
    with np.errstate(invalid="ignore"):
        spread_B = np.sqrt((weight_BP * first_BP**2).sum(1) * (weight_BP * second_BP**2).sum(1))
        correlation_B: Floats = (weight_BP * first_BP * second_BP).sum(1) / spread_B
    return correlation_B


def _by_query(pairs: ScoredPairs, correlation: Callable[[Floats, Floats], float]) -> Floats:
    """Return a correlation of scores with relevances per query; NaN if all its documents are equally relevant."""
    value_Q = np.full(pairs.queries, np.nan)
    order_P = np.argsort(pairs.query_P, kind="stable")
    for rows in np.split(order_P, np.flatnonzero(np.diff(pairs.query_P[order_P])) + 1):
        relevance, score = pairs.relevance_P[rows], pairs.score_P[rows]
        if np.ptp(relevance) > 0:
            value_Q[pairs.query_P[rows[0]]] = correlation(relevance, score)
    return value_Q


def _spearman(relevance: Floats, score: Floats) -> float:
    from scipy.stats import rankdata

    if np.ptp(score) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(relevance), rankdata(score))[0, 1])


def _kendall(relevance: Floats, score: Floats) -> float:
    from scipy.stats import kendalltau

    if np.ptp(score) == 0:
        return 0.0
    return float(kendalltau(relevance, score).statistic)
