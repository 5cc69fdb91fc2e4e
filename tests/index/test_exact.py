import pytest
import torch

from reasonir.errors import InputError
from reasonir.index.exact import Exact
from reasonir.index.pooling import Pooling
from reasonir.model import encoder as encoder_module
from reasonir.types import Corpus, Text
from tests.helpers import RETRIEVERS, SENTENCES, load

QUERIES = {f"q{i}": Text(text) for i, text in enumerate(SENTENCES[:4])}
CORPUS = Corpus([f"d {i}" for i in range(30)], [f"{SENTENCES[i % 12]} {SENTENCES[i % 7]} {i}" for i in range(30)])


@pytest.fixture(params=RETRIEVERS)
def encoder(bert, request):
    return load(bert, request.param)


def brute_force(encoder):
    documents = encoder.encode([Text(text) for text in CORPUS.texts], "document", budget=10**6)
    return encoder.head.score(encoder.encode(list(QUERIES.values()), "query"), documents)


@pytest.mark.parametrize("block", [4096, 7, 1])
def test_streaming_in_blocks_ranks_as_brute_force_does(encoder, monkeypatch, block):
    monkeypatch.setattr(encoder_module, "_SORTED_TOGETHER", block)
    index = Exact(encoder, tokens=200)
    index.build(CORPUS)
    run = index.search(QUERIES, 5)
    expected, order = brute_force(encoder).topk(5)
    for number, query_id in enumerate(QUERIES):
        assert list(run[query_id]) == [CORPUS.ids[i] for i in order[number]]
        assert list(run[query_id].values()) == pytest.approx(expected[number].tolist(), rel=1e-4)


def test_excluded_documents_are_removed_before_the_cut(encoder, monkeypatch):
    monkeypatch.setattr(encoder_module, "_SORTED_TOGETHER", 8)
    index = Exact(encoder)
    index.build(CORPUS)
    best = list(index.search(QUERIES, 30)["q1"])
    excluded = frozenset(best[:27])
    run = index.search(QUERIES, 5, exclude={"q1": excluded})
    assert set(run["q1"]) == set(best[27:])  # three are left of thirty, not none of five
    assert len(run["q0"]) == 5


def test_an_unknown_exclusion_is_named(encoder):
    index = Exact(encoder)
    index.build(CORPUS)
    with pytest.raises(InputError, match="query 'q1' excludes 'd 99', which isn't in the corpus"):
        index.search(QUERIES, 5, exclude={"q1": frozenset({"d 99"})})


def test_searching_leaves_training_mode_and_gradients_alone(bert):
    encoder = load(bert, "colbert", dropout=0.5)
    index = Exact(encoder)
    index.build(CORPUS)
    assert index.search(QUERIES, 5) == index.search(QUERIES, 5)
    assert encoder.training
    assert torch.is_grad_enabled()


def test_the_loss_by_pooling_is_measured(bert, monkeypatch):
    monkeypatch.setattr(encoder_module, "_SORTED_TOGETHER", 7)
    encoder = load(bert, "colbert")
    index, pooled = Exact(encoder), Exact(encoder, pooling=Pooling(3))
    index.build(CORPUS)
    pooled.build(CORPUS)
    expected, run = index.search(QUERIES, 10), pooled.search(QUERIES, 10)
    assert index.measured == {}
    shares = [len(expected[q].keys() & run[q].keys()) / 10 for q in QUERIES]
    vectors = encoder.encode([Text(text) for text in CORPUS.texts], "document")
    assert pooled.measured == {
        "recall_at_10": pytest.approx(sum(shares) / len(shares)),
        "vectors": len(Pooling(3)(vectors).values_TD),
        "encoded_vectors": len(vectors.values_TD),
    }
    scores_QN = encoder.head.score(encoder.encode(list(QUERIES.values()), "query"), Pooling(3)(vectors))
    for scores_N, ranking in zip(scores_QN, run.values(), strict=True):
        assert list(ranking.values()) == pytest.approx(scores_N.topk(10).values.tolist(), rel=1e-4)
