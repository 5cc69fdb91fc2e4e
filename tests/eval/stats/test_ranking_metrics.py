from itertools import permutations
from math import log2

import numpy as np
import pytest

from reasonir.eval.stats.ranking_metrics import NAMES, chance_ndcg, mean, per_query
from reasonir.eval.systems import random_system
from reasonir.types import Corpus, Task, Text

QRELS = {"q": {"a": 2, "b": 1, "c": 0, "z": 1}, "empty": {"a": 1}}
RUN = {"q": {"c": 3.0, "a": 2.0, "x": 1.5, "b": 1.0}}


def test_metrics_by_hand():
    found = per_query(RUN, QRELS)["q"]
    ideal = 2 + 1 / log2(3) + 1 / log2(4)
    assert found["ndcg_at_10"] == pytest.approx((2 / log2(3) + 1 / log2(5)) / ideal)
    assert found["ndcg_at_1"] == 0
    assert found["recall_at_5"] == pytest.approx(2 / 3)
    assert found["mrr"] == found["mrr_at_10"] == 0.5
    assert found["map"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert [found[f"precision_at_{k}"] for k in (1, 3, 5)] == pytest.approx([0, 1 / 3, 2 / 5])


def test_relevant_from_excludes_lower_labels():
    found = per_query(RUN, QRELS, relevant_from=2)["q"]
    assert found["ndcg_at_10"] == per_query(RUN, QRELS)["q"]["ndcg_at_10"]
    assert (found["map"], found["mrr"], found["mrr_at_10"], found["recall_at_5"]) == (0.5, 0.5, 0.5, 1.0)
    assert found["precision_at_5"] == pytest.approx(1 / 5)


def test_a_query_without_results_counts_as_0():
    found = per_query(RUN, QRELS)
    assert set(found) == {"q", "empty"}
    assert all(value == 0 for value in found["empty"].values())
    assert mean(found)["mrr"] == 0.25
    assert set(mean(found)) == set(NAMES)


def test_ties_rank_the_larger_id_first():
    qrels = {"q": {"b": 1}}
    assert per_query({"q": {"a": 1.0, "b": 1.0}}, qrels)["q"]["mrr"] == 1.0
    assert per_query({"q": {"c": 1.0, "b": 1.0}}, qrels)["q"]["mrr"] == 0.5


def test_reciprocal_rank_at_ten_ends_at_ten():
    run = {"q": {f"d{i:02}": 100.0 - i for i in range(20)}}
    found = per_query(run, {"q": {"d10": 1}})["q"]
    assert (found["mrr"], found["mrr_at_10"]) == (pytest.approx(1 / 11), 0.0)


def test_scores_equal_in_single_precision_are_ties_to_every_metric():
    """trec_eval stores scores as floats: eleven ties, with the smallest id last for any ninth digit."""
    run = {"q": {f"d{i:02}": 1.0 - i * 1e-10 for i in range(11)}}
    found = per_query(run, {"q": {"d00": 1}})["q"]
    assert (found["mrr"], found["mrr_at_10"]) == (pytest.approx(1 / 11), 0.0)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_chance_is_the_mean_over_all_orders(k):
    gains = {"a": 24, "b": 8, "c": 0, "d": 8, "e": 16}
    runs = [{"q": {doc: 9.0 - rank for rank, doc in enumerate(order)}} for order in permutations(gains)]
    reached = [per_query(run, {"q": gains})["q"][f"ndcg_at_{k}"] for run in runs]
    assert chance_ndcg(gains.values(), k) == pytest.approx(np.mean(reached))


HOME_DEPOT = {1.0: 2105, 1.33: 3006, 1.67: 6780, 2.0: 11730, 2.33: 16060, 2.67: 15202, 3.0: 19125}
"""Pairs of Home Depot's 74,067 by relevance (without the six rarer values)."""


def drawn(products, lists=3000):
    draw = np.random.default_rng(0)
    shares = np.array(list(HOME_DEPOT.values())) / sum(HOME_DEPOT.values())
    return draw.choice(list(HOME_DEPOT), p=shares, size=(lists, products))


@pytest.mark.parametrize(("products", "ndcg", "average_precision"), [(10, 0.879, 0.745), (4, 0.910, 0.807)])
def test_random_order_of_a_saturated_set_scores_high(products, ndcg, average_precision):
    """Lists drawn from Home Depot's ratings, gains 2^relevance - 1, relevant from 2.33: as its seed system has it."""
    lists = drawn(products)
    assert np.mean([chance_ndcg(2**row - 1, 10) for row in lists]) == pytest.approx(ndcg, abs=0.004)
    ids = [f"d{number}" for number in range(products)]
    qrels = {f"q{n}": dict(zip(ids, (row >= 2.33).astype(int).tolist(), strict=True)) for n, row in enumerate(lists)}
    qrels = {query: labels for query, labels in qrels.items() if any(labels.values())}
    texts = dict.fromkeys(qrels, Text("?"))
    task = Task("t", texts, Corpus(ids, ids), qrels, candidates=dict.fromkeys(qrels, ids))
    found = mean(per_query(random_system(depth=10, seed=0)(task), qrels))
    assert found["map"] == pytest.approx(average_precision, abs=0.015)
    if products == 10:
        assert found["mrr"] == pytest.approx(0.821, abs=0.01)
