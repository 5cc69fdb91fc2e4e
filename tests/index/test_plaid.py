"""PLAID against PyLate's and against exact search: complete rankings, reproducible builds, no files left."""

import gc
import json
from functools import partial

import numpy as np
import pytest
import torch

from reasonir.cli.check import problems
from reasonir.errors import InputError
from reasonir.index.exact import Exact
from reasonir.index.plaid import Plaid
from reasonir.index.pooling import Pooling
from reasonir.types import Corpus, Text
from tests.helpers import SENTENCES, load
from tests.running import run

pytest.importorskip("fast_plaid")
CORPUS = Corpus([f"d{i}" for i in range(80)], [f"{SENTENCES[i % 12]} {i} {SENTENCES[i * 7 % 11]}" for i in range(80)])
QUERIES = {f"q{i}": Text(f"{text} why") for i, text in enumerate(SENTENCES[:6])}
EXCLUDED = {"q0": frozenset(CORPUS.ids[:70]), "q1": frozenset(CORPUS.ids[:30]), "q2": frozenset(CORPUS.ids)}


@pytest.fixture(scope="module")
def encoder(bert):
    return load(bert, "colbert")


@pytest.fixture(scope="module")
def built(encoder):
    index = Plaid(encoder)
    index.build(CORPUS)
    return index


def test_it_ranks_as_pylates_does(encoder, built, tmp_path):
    indexes = pytest.importorskip("pylate.indexes")
    documents = encoder.encode([Text(text) for text in CORPUS.texts], "document")
    queries = encoder.encode(list(QUERIES.values()), "query")
    vectors = [torch.split(side.values_TD.half(), side.lengths_N.tolist()) for side in (documents, queries)]
    torch.manual_seed(42)  # PyLate's seed doesn't cover all of its randomness
    reference = indexes.PLAID(
        str(tmp_path), n_full_scores=4096, n_ivf_probe=8, seed=42, use_triton=False, show_progress=False, device="cpu"
    )
    reference.add_documents(list(CORPUS.ids), list(vectors[0]))
    run = built.search(QUERIES, 10)
    for ranking, query_LD in zip(run.values(), vectors[1], strict=True):
        (expected,) = reference([query_LD.float()], k=10)
        assert list(ranking.values()) == pytest.approx([document["score"] for document in expected], abs=1e-6)
        assert set(ranking) == {document["id"] for document in expected}


@pytest.mark.parametrize("options", [{"bits": 8, "n_probe": 10_000}, {"bits": 8, "n_centroids": 64, "n_probe": 64}])
def test_with_every_document_decoded_it_is_nearly_exact(encoder, options):
    index, exact = Plaid(encoder, **options), Exact(encoder)
    index.build(CORPUS)
    exact.build(CORPUS)
    run, expected = (built.search(QUERIES, len(CORPUS), exclude=EXCLUDED) for built in (index, exact))
    for query_id, ranking in expected.items():
        assert run[query_id].keys() == ranking.keys()
        assert [run[query_id][doc_id] for doc_id in ranking] == pytest.approx(list(ranking.values()), abs=0.1)
    assert index.measured["recall_at_10"] > 0.8


@pytest.mark.parametrize("options", [{}, {"n_probe": 1}, {"n_probe": 1, "candidates": 1}])
def test_rankings_are_complete_whatever_is_excluded(encoder, built, options):
    index = built
    for name, value in options.items():
        index = _with(index, name, value)
    run = index.search(QUERIES, 60, exclude=EXCLUDED)
    assert [len(ranking) for ranking in run.values()] == [10, 50, 0, 60, 60, 60]
    assert not any(run[query_id].keys() & hidden for query_id, hidden in EXCLUDED.items())
    assert all(list(ranking.values()) == sorted(ranking.values(), reverse=True) for ranking in run.values())


def _with(index, name, value):
    """Return the same built index, searched with another option."""
    import copy

    other = copy.copy(index)
    setattr(other, name, value)
    return other


@pytest.mark.parametrize("pooling", [Pooling(), Pooling(2)])
def test_recall_is_measured_against_exact_search_of_all_vectors(encoder, pooling):
    index, exact = Plaid(encoder, pooling=pooling), Exact(encoder)
    index.build(CORPUS)
    exact.build(CORPUS)
    run, expected = index.search(QUERIES, 20), exact.search(QUERIES, 10)
    shares = [len(set(list(run[q])[:10]) & expected[q].keys()) / 10 for q in QUERIES]
    assert index.measured["recall_at_10"] == pytest.approx(sum(shares) / len(shares), abs=0.02)
    vectors = encoder.encode([Text(text) for text in CORPUS.texts], "document")
    assert index.measured["encoded_vectors"] == len(vectors.values_TD)
    assert index.measured["vectors"] == len(pooling(vectors).values_TD)


def test_builds_are_reproducible_and_restore_random_states(encoder, built):
    torch.manual_seed(123)
    np.random.seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    again = Plaid(encoder)
    again.build(CORPUS)
    assert again.search(QUERIES, 20) == built.search(QUERIES, 20)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    other = Plaid(encoder, seed=7)
    other.build(CORPUS)
    assert other.search(QUERIES, 20) != built.search(QUERIES, 20)


def test_no_files_are_left(encoder, tmp_path):
    index = Plaid(encoder, folder=str(tmp_path))
    small = Corpus(CORPUS.ids[:20], CORPUS.texts[:20])
    for _ in range(2):
        index.build(small)
        gc.collect()
        assert len(list(tmp_path.iterdir())) == 1  # the first build's is gone
    del index
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_handful_of_documents_is_enough(encoder):
    index = Plaid(encoder)
    index.build(Corpus(["a", "b"], [SENTENCES[0], SENTENCES[2]]))
    assert all(set(ranking) == {"a", "b"} for ranking in index.search(QUERIES, 5).values())
    with pytest.raises(InputError, match="needs at least 10 vectors, the corpus has 5: choose index=exact"):
        index.build(Corpus(["a"], ["copper"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 3}, r"bits=3: choose 1, 2, 4 or 8"),
        ({"n_probe": 0}, r"n_probe=0: give 1 or more"),
        ({"n_centroids": 0}, r"n_centroids=0: give 1 or more"),
        (
            {"folder": "/nowhere/at/all"},
            r"index\.folder=/nowhere/at/all: No such file or directory: choose a writable folder",
        ),
    ],
)
def test_other_options_are_refused(encoder, options, message):
    with pytest.raises(InputError, match=message):
        Plaid(encoder, **options).build(CORPUS)


def test_vectors_of_another_size_are_refused(bert):
    index = Plaid(load(bert, "colbert", embedding_size=12))
    with pytest.raises(InputError, match=r"divisible by 8, the model's is 12: change model\.head\.embedding_size"):
        index.build(CORPUS)


def test_one_vector_per_text_is_refused(bert, composed):
    message = "index=plaid holds many vectors per text, but BiEncoder gives one: choose index=exact or index=faiss"
    with pytest.raises(InputError, match=message):
        Plaid(load(bert, "biencoder"))
    assert problems(composed("train", "model=tiny", "model/head=biencoder", "index=plaid")) == [message]
    nothing = "index.pooling.pool_factor=2: BiEncoder gives one vector per text: set it to 1"
    assert problems(composed("train", "model=tiny", "model/head=biencoder", "index.pooling.pool_factor=2")) == [nothing]
    with pytest.raises(InputError, match=r"index\.pooling\.pool_factor=2"):
        partial(Exact, pooling=Pooling(2))(load(bert, "biencoder"))


def test_a_model_is_evaluated_with_it(home):
    overrides = ("model=tiny", "eval=demo", "index=plaid", "index.pooling.pool_factor=2", "index.candidates=10")
    overrides = (*overrides, "evaluation.top_k=10", "evaluation.baselines=[]")
    done = run("evaluate", *overrides, home=home)
    assert done.status == 0, done.err
    document = json.loads((done.folder / "results.json").read_text())
    assert document["protocol"]["index"] == {
        "name": "plaid",
        "pooling": {"pool_factor": 2, "kind": "hierarchical", "protected_tokens": 1, "seed": 42},
        "bits": 4,
        "n_centroids": None,
        "iterations": 4,
        "n_probe": 8,
        "candidates": 10,
        "seed": 42,
        "folder": None,
        "tokens": 8192,
    }
    measured = document["measured"]["demo"]["untrained"]
    assert 0 < measured["recall_at_10"] < 1
    assert 0.5 < measured["vectors"] / measured["encoded_vectors"] < 0.51
    assert f"demo: of the exact first 10, index=plaid finds {measured['recall_at_10']:.1%}" in done.out
