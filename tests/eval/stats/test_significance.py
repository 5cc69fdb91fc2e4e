import numpy as np
import pytest

from reasonir.eval.stats import significance
from reasonir.eval.stats.significance import difference, interval, stratified_interval


def test_the_interval_has_about_the_theoretical_width():
    values = np.random.default_rng(0).normal(0.5, 0.2, 400)
    found = interval(values.tolist())
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.2 / 20, rel=0.15)
    assert interval([0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_few_queries_are_tested_exactly():
    """All 2**5 sign patterns: only the observed one and its mirror are as extreme."""
    found = difference([1, 2, 3, 4, 5], [0, 0, 0, 0, 0])
    assert found.delta == 3
    assert found.p == pytest.approx(2 / 32)


def test_noise_gives_large_p_values_and_an_effect_small_ones():
    draw = np.random.default_rng(1)
    base = draw.random(100)
    assert difference((base + draw.normal(0, 0.1, 100)).tolist(), base.tolist()).p > 0.05
    assert difference((base + draw.normal(0.1, 0.1, 100)).tolist(), base.tolist()).p < 0.001
    assert difference([0.1, 0.2], [0.1, 0.2]) == (0.0, 1.0)


def test_one_stratum_has_the_usual_interval_and_several_that_of_their_mean():
    draw = np.random.default_rng(2)
    first, second = draw.normal(0.5, 0.2, 100), draw.normal(0.1, 0.05, 25)
    assert stratified_interval([first.tolist()]) == pytest.approx(interval(first.tolist()), abs=0.01)
    both = stratified_interval([first.tolist(), second.tolist()])
    assert both.mean == pytest.approx((first.mean() + second.mean()) / 2)
    error = (first.var() / 100 + second.var() / 25) ** 0.5 / 2
    assert both.high - both.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert stratified_interval([[0.5], [0.25]]) == (0.375, 0.375, 0.375)


@pytest.mark.parametrize("queries", [10, 20, 30])
@pytest.mark.parametrize(
    ("draw_values", "expected"),
    [
        (lambda draw, n: draw.beta(2, 2, n), 0.5),
        (lambda draw, n: np.where(draw.random(n) < 0.2, 0.0, draw.beta(2, 2, n)), 0.4),
        (lambda draw, n: 1 / draw.geometric(0.3, n), sum(0.3 * 0.7 ** (k - 1) / k for k in range(1, 500))),
    ],
)
def test_intervals_of_few_queries_cover_the_expected_value(queries, draw_values, expected, monkeypatch):
    monkeypatch.setattr(significance, "RESAMPLES", 999)
    draw = np.random.default_rng(0)
    spans = [interval(draw_values(draw, queries).tolist()) for _ in range(400)]
    assert np.mean([span.low <= expected <= span.high for span in spans]) >= 0.93
    assert all(0 <= span.low <= span.mean <= span.high <= 1 for span in spans)


def test_intervals_of_means_over_tasks_cover_the_expected_value(monkeypatch):
    monkeypatch.setattr(significance, "RESAMPLES", 999)
    draw = np.random.default_rng(0)
    spans = [stratified_interval([draw.beta(1, 3, 8), draw.beta(3, 1, 12), draw.random(30)]) for _ in range(400)]
    assert np.mean([span.low <= 0.5 <= span.high for span in spans]) >= 0.93


def test_a_skewed_metric_has_a_skewed_interval():
    values = [0.0] * 25 + [1.0] * 3 + [0.5] * 2
    found = interval(values)
    assert found.high - found.mean > 1.3 * (found.mean - found.low)
