import warnings

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from reasonir.eval.stats import pair_metrics
from reasonir.eval.stats.pair_metrics import (
    BootstrapDraws,
    ScoredPairs,
    best_threshold,
    calibration_interval,
    confusion,
    differences,
    figures,
    levels,
    logistic,
    reliability,
)


def drawn(seed=0, *, queries=40, threshold=0.3, noise=1.0):
    """Return pairs with ties in scores and relevances, and a query whose documents are all equally relevant."""
    draw = np.random.default_rng(seed)
    query_P = np.repeat(np.arange(queries), draw.integers(1, 8, queries))
    relevance_P = draw.choice([1.0, 1.67, 2.33, 3.0], size=len(query_P))
    relevance_P[query_P == 3] = 2.33
    score_P = np.round(relevance_P - 2 + noise * draw.normal(size=len(query_P)), 1)
    return ScoredPairs(query_P, relevance_P, relevance_P >= 2.33, score_P, 1 / (1 + np.exp(-score_P)), threshold)


def naive_calibration_error(probability, relevant):
    total = 0.0
    for low in range(10):
        inside = [i for i, p in enumerate(probability) if low / 10 <= p < (low + 1) / 10 or (p == 1 and low == 9)]
        if inside:
            gap = np.mean([probability[i] for i in inside]) - np.mean([relevant[i] for i in inside])
            total += len(inside) / len(probability) * abs(gap)
    return total


def test_metrics_equal_scikit_learn_and_scipy():
    pairs = drawn()
    found = BootstrapDraws.of(pairs).points
    y, p, s = pairs.relevant_P, pairs.probability_P, pairs.score_P
    for suffix, threshold in (("", 0.5), ("_tuned", 0.3)):
        called = p >= threshold
        assert found[f"accuracy{suffix}"] == pytest.approx(metrics.accuracy_score(y, called))
        assert found[f"precision{suffix}"] == pytest.approx(metrics.precision_score(y, called))
        assert found[f"recall{suffix}"] == pytest.approx(metrics.recall_score(y, called))
        assert found[f"f1{suffix}"] == pytest.approx(metrics.f1_score(y, called))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(y, s))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(y, p))
    assert found["ece"] == pytest.approx(naive_calibration_error(p, y))
    assert found["spearman"] == pytest.approx(spearmanr(pairs.relevance_P, s).statistic)
    assert found["kendall"] == pytest.approx(kendalltau(pairs.relevance_P, s).statistic)
    for name, correlation in (("spearman", spearmanr), ("kendall", kendalltau)):
        each = []
        for query in range(pairs.queries):
            rows = pairs.query_P == query
            if np.ptp(pairs.relevance_P[rows]):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # scores that are all alike
                    each.append(np.nan_to_num(correlation(pairs.relevance_P[rows], s[rows]).statistic))
        assert found[f"{name}_by_query"] == pytest.approx(np.mean(each))


def test_a_query_of_weight_2_counts_as_two_queries():
    pairs = drawn()
    weight_Q = np.random.default_rng(1).integers(0, 4, pairs.queries)
    times = weight_Q[pairs.query_P]
    y, p, s, relevance = (
        np.repeat(each, times) for each in (pairs.relevant_P, pairs.probability_P, pairs.score_P, pairs.relevance_P)
    )
    found = {name: value_B[0] for name, value_B in figures(pairs, weight_Q[None].astype(float)).items()}
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(y, s))
    assert found["spearman"] == pytest.approx(spearmanr(relevance, s).statistic)
    assert found["f1"] == pytest.approx(metrics.f1_score(y, p >= 0.5))
    assert found["accuracy_tuned"] == pytest.approx(metrics.accuracy_score(y, p >= 0.3))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(y, p))
    assert found["ece"] == pytest.approx(naive_calibration_error(p, y))


def test_calibration_by_hand():
    pairs = ScoredPairs(
        query_P=np.array([0, 0, 1, 1]),
        relevance_P=np.array([1.0, 3.0, 3.0, 1.0]),
        relevant_P=np.array([False, True, True, False]),
        score_P=np.array([-1.0, -0.9, 2.0, 3.0]),
        probability_P=np.array([0.2, 0.25, 0.9, 1.0]),
        threshold=0.95,
    )
    found = BootstrapDraws.of(pairs).points
    assert found["ece"] == pytest.approx((2 * abs(0.225 - 0.5) + 2 * abs(0.95 - 0.5)) / 4)
    assert found["brier"] == pytest.approx((0.04 + 0.5625 + 0.01 + 1) / 4)
    assert list(reliability(pairs)) == [
        {"from": 0.2, "to": 0.3, "pairs": 2, "mean_probability": pytest.approx(0.225), "share_relevant": 0.5},
        {"from": 0.9, "to": 1.0, "pairs": 2, "mean_probability": pytest.approx(0.95), "share_relevant": 0.5},
    ]
    one, three = levels(pairs)
    assert (one["relevance"], one["mean_score"], one["called_relevant"]) == (1.0, 1.0, 0.5)
    assert (three["mean_probability"], three["called_relevant_tuned"]) == (pytest.approx(0.575), 0.0)
    assert list(confusion(pairs, 0.5).values()) == [1, 1, 1, 1]
    assert list(confusion(pairs, 0.95).values()) == [0, 1, 2, 1]


def test_undefined_metrics_are_left_out():
    alike = ScoredPairs(np.array([0, 1]), np.full(2, 3.0), np.array([True, True]), np.arange(2.0), np.ones(2), 0.5)
    found = BootstrapDraws.of(alike)
    assert found.points.keys() & {"auc", "spearman_by_query", "spearman"} == set()
    assert found.points["accuracy"] == 1
    assert found.intervals()["brier"] == (0, 0, 0)


def test_intervals_contain_their_values_and_a_better_system_differs():
    better, worse = BootstrapDraws.of(drawn(noise=0.5)), BootstrapDraws.of(drawn(noise=3.0))
    for drawn_figures in (better, worse):
        for name, span in drawn_figures.intervals().items():
            assert span.low <= drawn_figures.points[name] <= span.high, name
    gap = differences(better.pairs, worse.pairs)["auc"]
    assert gap.delta == pytest.approx(better.points["auc"] - worse.points["auc"])
    assert gap.p < 0.01
    assert all(each == pytest.approx((0, 1)) for each in differences(better.pairs, better.pairs).values())


def test_the_best_threshold_equals_exhaustive_search():
    for seed in range(5):
        pairs = drawn(seed)
        scores = {t: metrics.f1_score(pairs.relevant_P, pairs.probability_P >= t) for t in pairs.probability_P}
        best = best_threshold(pairs.probability_P, pairs.relevant_P)
        assert scores[best] == pytest.approx(max(scores.values()))
        assert all(scores[higher] < scores[best] - 1e-12 for higher in scores if higher > best)


def test_the_logistic_curve_equals_scikit_learn():
    pairs = drawn()
    scores = 100 + 7 * pairs.score_P
    curve = logistic(scores, pairs.relevant_P)
    reference = LogisticRegression(C=1e6, tol=1e-8).fit(pairs.score_P[:, None], pairs.relevant_P)
    assert curve(scores) == pytest.approx(reference.predict_proba(pairs.score_P[:, None])[:, 1], abs=1e-4)


def test_constant_scores_give_the_share_of_relevant_pairs():
    relevant_P = np.array([True, True, True, False])
    assert logistic(np.zeros(4), relevant_P)(np.zeros(4)) == pytest.approx(np.full(4, 0.75), abs=1e-3)


def system(draw, queries, *, noise=1.0, scale=1.0, shift=0.0):
    """Return pairs whose relevance has the logistic probability of a logit, scored with noise on any scale."""
    query_P = np.repeat(np.arange(queries), 4)
    logit_P = draw.normal(0, 1, queries)[query_P] + draw.normal(0, 1, len(query_P))
    relevant_P = draw.random(len(query_P)) < 1 / (1 + np.exp(-logit_P))
    noisy = [logit_P + noise * draw.normal(size=len(query_P)) for _ in range(2)]
    return [
        ScoredPairs(
            query_P, relevant_P.astype(float), relevant_P, scale * score_P, 1 / (1 + np.exp(-logit_P - shift)), 0.5
        )
        for score_P, scale in zip(noisy, (1.0, scale), strict=True)
    ]


def test_systems_that_are_equally_good_rarely_differ_whatever_their_scales(monkeypatch):
    monkeypatch.setattr(pair_metrics, "RESAMPLES", 199)
    draw = np.random.default_rng(0)
    values = [differences(*system(draw, 20, scale=50.0))["auc"].p for _ in range(150)]
    assert np.mean(np.array(values) <= 0.05) <= 0.08
    assert 0.4 < np.mean(values) < 0.6


def test_the_interval_of_the_calibration_error_covers_zero_for_calibrated_probabilities_and_always_its_own_value():
    draw = np.random.default_rng(0)
    spans = [calibration_interval(system(draw, 30)[0]) for _ in range(60)]
    assert all(span.low <= span.mean <= span.high for span in spans)
    assert np.mean([span.low == 0 for span in spans]) >= 0.9
    off = [calibration_interval(system(draw, 60, shift=2.0)[0]) for _ in range(20)]
    assert all(span.low > 0.1 and span.low <= span.mean <= span.high for span in off)


@pytest.mark.parametrize("queries", [[0, 0, 0], [0, 1, 1]])
def test_too_few_queries_to_leave_one_out_give_intervals_without_warning(queries):
    probability_P = np.array([0.2, 0.6, 0.9])
    pairs = ScoredPairs(
        np.array(queries), np.array([0.0, 1, 1]), probability_P > 0.5, probability_P, probability_P, 0.5
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = BootstrapDraws.of(pairs).intervals()
    assert found["auc"] == (1.0, 1.0, 1.0)
    assert found["brier"].mean == pytest.approx(0.07)
    assert found["brier"].low <= found["brier"].mean <= found["brier"].high
