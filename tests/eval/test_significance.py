import numpy as np
import pytest

from reasonir.eval.significance import difference, interval


def test_the_interval_holds_the_mean_about_as_wide_as_theory_says():
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


def test_chance_gives_large_p_values_and_an_effect_small_ones():
    draw = np.random.default_rng(1)
    base = draw.random(100)
    assert difference((base + draw.normal(0, 0.1, 100)).tolist(), base.tolist()).p > 0.05
    assert difference((base + draw.normal(0.1, 0.1, 100)).tolist(), base.tolist()).p < 0.001
    assert difference([0.1, 0.2], [0.1, 0.2]) == (0.0, 1.0)
