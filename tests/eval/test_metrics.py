from math import log2

import pytest

from reasonir.eval.metrics import NAMES, mean, per_query

QRELS = {"q": {"a": 2, "b": 1, "c": 0, "z": 1}, "empty": {"a": 1}}
RUN = {"q": {"c": 3.0, "a": 2.0, "x": 1.5, "b": 1.0}}


def test_figures_by_hand():
    found = per_query(RUN, QRELS)["q"]
    ideal = 2 + 1 / log2(3) + 1 / log2(4)
    assert found["ndcg_at_10"] == pytest.approx((2 / log2(3) + 1 / log2(5)) / ideal)
    assert found["ndcg_at_1"] == 0
    assert found["recall_at_5"] == pytest.approx(2 / 3)
    assert found["mrr"] == found["mrr_at_10"] == 0.5
    assert found["map"] == pytest.approx((1 / 2 + 2 / 4) / 3)


def test_a_query_without_results_counts_as_nothing():
    found = per_query(RUN, QRELS)
    assert set(found) == {"q", "empty"}
    assert all(value == 0 for value in found["empty"].values())
    assert mean(found)["mrr"] == 0.25
    assert set(mean(found)) == set(NAMES)


def test_ties_fall_to_the_larger_id():
    qrels = {"q": {"b": 1}}
    assert per_query({"q": {"a": 1.0, "b": 1.0}}, qrels)["q"]["mrr"] == 1.0
    assert per_query({"q": {"c": 1.0, "b": 1.0}}, qrels)["q"]["mrr"] == 0.5


def test_reciprocal_rank_at_ten_ends_at_ten():
    run = {"q": {f"d{i:02}": 100.0 - i for i in range(20)}}
    found = per_query(run, {"q": {"d10": 1}})["q"]
    assert (found["mrr"], found["mrr_at_10"]) == (pytest.approx(1 / 11), 0.0)


def test_scores_that_differ_beyond_single_precision_are_ties_to_every_metric():
    """trec_eval keeps scores as floats: eleven ties, of which the smallest id comes last, whatever its ninth digit."""
    run = {"q": {f"d{i:02}": 1.0 - i * 1e-10 for i in range(11)}}
    found = per_query(run, {"q": {"d00": 1}})["q"]
    assert (found["mrr"], found["mrr_at_10"]) == (pytest.approx(1 / 11), 0.0)
