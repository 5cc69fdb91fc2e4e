"""Inverted index against exact search: the same documents and scores, the terms counted."""

import pytest

from reasonir.cli.check import problems
from reasonir.errors import InputError
from reasonir.index.exact import Exact
from reasonir.index.inverted import Inverted
from reasonir.types import Corpus, Text
from tests.helpers import SENTENCES, load

TEXTS = [f"{SENTENCES[i % 12]} {i % 150} {SENTENCES[i * 7 % 11]}" for i in range(300)]  # half of them twice
CORPUS = Corpus([f"d{i}" for i in range(300)], TEXTS)
QUERIES = {f"q{i}": Text(f"{text} why") for i, text in enumerate(SENTENCES)}
EXCLUDED = {"q0": frozenset(CORPUS.ids[:290]), "q1": frozenset({"d7"})}


@pytest.fixture(scope="module")
def encoder(bert):
    return load(bert, "splade")


def searched(index, k):
    index.build(CORPUS)
    return index.search(QUERIES, k, exclude=EXCLUDED)


def test_it_is_exact_search(encoder):
    found, exact = Inverted(encoder, tokens=500), Exact(encoder, tokens=500)
    run, expected = searched(found, 300), searched(exact, 300)
    for query_id, ranking in expected.items():
        assert run[query_id] == {doc_id: score for doc_id, score in ranking.items() if score > 0}
    assert set(run["q0"]) <= {f"d{i}" for i in range(290, 300)}
    assert "d7" not in run["q1"]
    assert found.measured.keys() == exact.measured.keys() == {"query_terms", "document_terms", "flops"}
    assert found.measured == pytest.approx(exact.measured)


def test_the_first_are_in_the_order_of_the_corpus_where_they_are_equal(encoder):
    run = searched(Inverted(encoder), 5)
    assert {len(run[query_id]) for query_id in QUERIES if query_id != "q0"} == {5}
    for ranking in run.values():
        assert list(ranking) == sorted(ranking, key=lambda doc_id: (-ranking[doc_id], int(doc_id[1:])))


def test_a_corpus_without_terms_gives_empty_rankings(bert):
    encoder = load(bert, "splade")
    encoder.head.decoder.bias.data.fill_(-100.0)
    index = Inverted(encoder)
    assert searched(index, 5) == {query_id: {} for query_id in QUERIES}
    assert index.measured == {"query_terms": 0.0, "document_terms": 0.0, "flops": 0.0}


@pytest.mark.parametrize("head", ["biencoder", "colbert"])
def test_other_vectors_are_refused(bert, composed, head):
    gives, other = {"biencoder": ("one", "faiss"), "colbert": ("many", "plaid")}[head]
    encoder = load(bert, head)
    message = (
        f"index=inverted holds sparse weights per text, but {type(encoder.head).__name__} gives {gives}: "
        f"choose index=exact or index={other}"
    )
    with pytest.raises(InputError, match=message):
        Inverted(encoder)
    assert message in problems(composed("train", "model=tiny", f"model/head={head}", "index=inverted"))[0]


@pytest.mark.parametrize(
    ("index", "holds"), [("faiss", "one vector"), ("plaid", "many vectors"), ("muvera", "many vectors")]
)
def test_other_indexes_refuse_sparse_weights(composed, index, holds):
    (problem,) = problems(composed("train", "model=tiny", "model/head=splade", f"index={index}"))
    assert problem == (
        f"index={index} holds {holds} per text, but Splade gives sparse weights: choose index=exact or index=inverted"
    )


def test_sparse_weights_are_not_pooled(composed):
    given = ("model=tiny", "model/head=splade", "index.pooling.pool_factor=2")
    assert problems(composed("train", *given)) == [
        "index.pooling.pool_factor=2: Splade gives sparse weights per text: set it to 1"
    ]
