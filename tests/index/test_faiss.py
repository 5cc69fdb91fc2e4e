"""FAISS against exact search: the same ranking where it is exact, nearly the same where it isn't, exclusions hidden."""

import pytest

from reasonir.check import problems
from reasonir.errors import InputError
from reasonir.index.exact import Exact
from reasonir.index.faiss import Faiss
from reasonir.types import Corpus, Text
from tests.commands import run
from tests.helpers import SENTENCES, load

CORPUS = Corpus([f"d{i}" for i in range(300)], [f"{SENTENCES[i % 12]} {i} {SENTENCES[i * 7 % 11]}" for i in range(300)])
QUERIES = {f"q{i}": Text(f"{text} why") for i, text in enumerate(SENTENCES)}
EXCLUDED = {"q0": frozenset(CORPUS.ids[:290])}


@pytest.fixture(scope="module")
def encoder(bert):
    return load(bert, "biencoder")


def exact(encoder, k):
    index = Exact(encoder)
    index.build(CORPUS)
    return index.search(QUERIES, k, exclude=EXCLUDED)


def test_a_flat_index_is_exact_search(encoder):
    index = Faiss(encoder, kind="flat")
    index.build(CORPUS)
    found, expected = index.search(QUERIES, 20, exclude=EXCLUDED), exact(encoder, 20)
    assert index.recall == 1.0
    assert len(found["q0"]) == 10
    for query_id, ranking in expected.items():
        assert list(found[query_id].values()) == pytest.approx(list(ranking.values()), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"), [("hnsw", {}), ("ivf", {"cells": 10, "probes": 10}), ("ivf", {"cells": 10, "probes": 1})]
)
def test_what_approximation_costs_is_measured(encoder, kind, options):
    index = Faiss(encoder, kind=kind, **options)
    index.build(CORPUS)
    found, expected = index.search(QUERIES, 20, exclude=EXCLUDED), exact(encoder, 10)
    shares = [len(expected[q].keys() & found[q].keys()) / len(expected[q]) for q in QUERIES]
    assert index.recall == pytest.approx(sum(shares) / len(shares), abs=0.02)
    assert index.recall > 0.95 or options.get("probes") == 1
    assert not found["q0"].keys() & EXCLUDED["q0"]


def test_many_vectors_a_text_are_refused(bert, composed):
    with pytest.raises(InputError, match="index=faiss holds one vector a text, ColBERT gives more"):
        Faiss(load(bert, "colbert")).build(CORPUS)
    with pytest.raises(InputError, match=r"index\.kind=pq: choose one of flat, ivf, hnsw"):
        Faiss(load(bert, "biencoder"), kind="pq")
    (found,) = problems(composed("train", "model=tiny", "index=faiss"))
    assert "it holds one vector a text, ColBERT gives more: choose index=exact or model/head=biencoder" in found


def test_a_run_is_judged_by_it(home):
    given = (
        "experiment=demo_tiny",
        "model/head=biencoder",
        "index=faiss",
        "trainer.max_steps=1",
        "evaluation.baselines=[]",
    )
    done = run("train", *given, home=home)
    assert done.status == 0, done.err
    assert "Of the exact first 10, hnsw finds" in done.err
