"""FAISS against exact search: equal rankings if it is exact, nearly equal ones if not, exclusions hidden."""

import json

import numpy as np
import pytest

from reasonir.cli.check import problems
from reasonir.errors import InputError
from reasonir.index.exact import Exact
from reasonir.index.faiss import Faiss
from reasonir.types import Corpus, Text
from tests.helpers import SENTENCES, load
from tests.running import run

CORPUS = Corpus([f"d{i}" for i in range(300)], [f"{SENTENCES[i % 12]} {i} {SENTENCES[i * 7 % 11]}" for i in range(300)])
QUERIES = {f"q{i}": Text(f"{text} why") for i, text in enumerate(SENTENCES)}
EXCLUDED = {"q0": frozenset(CORPUS.ids[:290])}


@pytest.fixture(scope="module", params=["biencoder", "gaussian"])
def encoder(request, bert):
    return load(bert, request.param)


def exact(encoder, k):
    index = Exact(encoder)
    index.build(CORPUS)
    return index.search(QUERIES, k, exclude=EXCLUDED)


def test_a_flat_index_is_exact_search(encoder):
    index = Faiss(encoder, kind="flat")
    index.build(CORPUS)
    run, expected = index.search(QUERIES, 20, exclude=EXCLUDED), exact(encoder, 20)
    assert index.measured == {"recall_at_10": 1.0, "vectors": 300, "encoded_vectors": 300}
    assert len(run["q0"]) == 10
    for query_id, ranking in expected.items():
        assert list(run[query_id].values()) == pytest.approx(list(ranking.values()), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"), [("hnsw", {}), ("ivf", {"cells": 10, "n_probe": 10}), ("ivf", {"cells": 10, "n_probe": 1})]
)
def test_the_loss_by_approximation_is_measured(encoder, kind, options):
    index = Faiss(encoder, kind=kind, **options)
    index.build(CORPUS)
    run, expected = index.search(QUERIES, 20, exclude=EXCLUDED), exact(encoder, 10)
    shares = [len(expected[q].keys() & set(list(run[q])[:10])) / len(expected[q]) for q in QUERIES]
    assert index.measured["recall_at_10"] == pytest.approx(sum(shares) / len(shares), abs=0.02)
    assert index.measured["recall_at_10"] > 0.95 or options.get("n_probe") == 1
    assert not run["q0"].keys() & EXCLUDED["q0"]


@pytest.mark.parametrize("hidden", [30, 150, 290])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ivf", {"cells": 60, "n_probe": 1}),
        ("ivf", {"cells": 300, "n_probe": 2}),
        ("hnsw", {"neighbours": 2, "effort": 1}),
        ("flat", {}),
    ],
)
def test_rankings_are_full_however_much_is_excluded(encoder, kind, options, hidden):
    index = Faiss(encoder, kind=kind, **options)
    index.build(CORPUS)
    excluded = {q: frozenset(CORPUS.ids[7 * i % 300] for i in range(hidden)) for q in QUERIES}
    run = index.search(QUERIES, 100, exclude=excluded)
    for query_id, ranking in run.items():
        assert len(ranking) == min(100, 300 - hidden)
        assert not ranking.keys() & excluded[query_id]
        assert list(ranking.values()) == sorted(ranking.values(), reverse=True)


def test_what_a_graph_cannot_reach_is_compared_exactly(encoder, monkeypatch):
    index = Faiss(encoder, kind="hnsw")
    index.build(CORPUS)

    class Unreachable:
        storage, ntotal = index._vectors._index.storage, 300
        reconstruct_n = index._vectors._index.reconstruct_n

        def search(self, vectors, k, params):
            return np.zeros((1, k), dtype=np.float32), np.full((1, k), -1)

    monkeypatch.setattr(index._vectors, "_index", Unreachable())
    run, expected = index.search(QUERIES, 20, exclude=EXCLUDED), exact(encoder, 20)
    for query_id, ranking in expected.items():
        assert list(run[query_id].values()) == pytest.approx(list(ranking.values()), abs=1e-5)


def test_many_vectors_per_text_are_refused(bert, composed):
    message = "index=faiss holds one vector per text, but ColBERT gives many: choose index=exact or index=plaid"
    with pytest.raises(InputError, match=message):
        Faiss(load(bert, "colbert"))
    with pytest.raises(InputError, match=r"kind=pq: choose flat, ivf or hnsw"):
        Faiss(load(bert, "biencoder"), kind="pq")
    assert problems(composed("train", "model=tiny", "index=faiss")) == [message]


def test_a_run_reports_the_recall_of_its_index(home):
    overrides = ("experiment=demo_tiny", "model/head=biencoder", "index=faiss", "trainer.max_steps=1")
    done = run("train", *overrides, "evaluation.baselines=[random,untrained]", home=home)
    assert done.status == 0, done.err
    document = json.loads((done.folder / "results.json").read_text())
    assert document["protocol"]["index"]["name"] == "faiss"
    assert document["protocol"]["index"]["kind"] == "hnsw"
    assert document["measured"]["demo"].keys() == {"untrained", "trained"}
    measured = document["measured"]["demo"]["trained"]
    assert measured["vectors"] == measured["encoded_vectors"] == 448
    assert f"index=faiss finds {measured['recall_at_10']:.1%} (448 of 448 vectors)" in done.out
    again = run("train", f"resume={done.folder}", home=home)
    assert again.status == 0, again.err
    assert "Reusing the baselines of" in again.err
    assert json.loads((done.folder / "results.json").read_text())["measured"] == document["measured"]
