"""Exact search block by block against the whole score matrix, and recall against hand-computed tables."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from reasonir.data.batch import Representation
from reasonir.index.topk import TopK, recall, report, sampled, top_above_zero
from reasonir.types import Corpus


def single(values_ND):
    return Representation(values_ND, torch.ones(len(values_ND), dtype=torch.int64))


def dot(queries, documents):
    return queries.values_TD @ documents.values_TD.T


@pytest.mark.parametrize("cuts", [[0, 50], [0, 1, 2, 7, 50], list(range(51))])
def test_blocks_rank_as_the_whole_matrix(cuts):
    draw = torch.Generator().manual_seed(1)
    queries_QD, documents_ND = torch.randn(6, 8, generator=draw), torch.randn(50, 8, generator=draw)
    excluded = [np.arange(0, 50, step) for step in (1, 2, 3, 5, 7, 11)]
    best = TopK([f"q{i}" for i in range(6)], single(queries_QD), dot, excluded, 9)
    for start, stop in pairwise(cuts):
        best.add(np.arange(start, stop), single(documents_ND[start:stop]))
    run = best.run(Corpus([f"d{i}" for i in range(50)], [""] * 50))
    scores_QN = queries_QD @ documents_ND.T
    for number, hidden in enumerate(excluded):
        allowed = [position for position in range(50) if position not in hidden]
        expected = sorted(allowed, key=lambda position: -scores_QN[number, position])[:9]
        assert list(run[f"q{number}"]) == [f"d{position}" for position in expected]


@pytest.mark.parametrize(("count", "first"), [(3, [0, 1, 2]), (100, [0, 1, 2]), (250, [0, 2, 5]), (1001, [0, 10, 20])])
def test_the_sample_is_spread_over_all_queries(count, first):
    ids = [f"q{i}" for i in range(count)]
    values_QD = torch.arange(count, dtype=torch.float32)[:, None]
    chosen = sampled(ids, single(values_QD), dot, [np.array([i]) for i in range(count)])
    assert len(chosen.query_ids) == min(count, 100)
    assert chosen.query_ids[:3] == [f"q{i}" for i in first]
    assert [f"q{int(value)}" for value in chosen.queries.values_TD[:, 0]] == chosen.query_ids
    assert [f"q{positions[0]}" for positions in chosen.excluded] == chosen.query_ids


@pytest.mark.parametrize("k", [1, 7, 50, 400])
def test_the_first_are_those_of_a_stable_sort_of_all(k):
    draw = np.random.default_rng(0)
    scores_N = draw.integers(0, 6, 300).astype(np.float32)  # many ties, many zeros
    order = np.argsort(-scores_N, kind="stable")[:k]
    assert top_above_zero(scores_N, k).tolist() == [position for position in order if scores_N[position] > 0]
    assert top_above_zero(np.zeros(5), k).tolist() == []


def ranking(*names):
    return {name: 1.0 - position / 100 for position, name in enumerate(names)}


def test_recall_uses_the_top_ten():
    letters = "abcdefghijklmnop"
    assert recall({"q": ranking(*letters)}, {"q": ranking("a", "j")}) == 1.0
    assert recall({"q": ranking(*letters)}, {"q": ranking("a", "k")}) == 0.5  # k is the eleventh
    assert recall({"q": ranking("x"), "r": ranking("a")}, {"q": ranking("a", "b"), "r": ranking("a")}) == 0.5
    assert recall({"q": {}, "r": ranking("a")}, {"q": {}, "r": ranking("a")}) == 1.0  # q excludes everything
    assert recall({"q": {}}, {"q": {}}) == 1.0


def test_recall_is_logged_and_returned(caplog):
    caplog.set_level("INFO")
    metrics = report("plaid", {"q": ranking("a", "b")}, {"q": ranking("b", "c")}, vectors=60, encoded=120)
    assert metrics == {"recall_at_10": 0.5, "vectors": 60, "encoded_vectors": 120}
    assert "Recall of plaid in the exact top 10: 50.0 % (60 of 120 vectors)" in caplog.text
