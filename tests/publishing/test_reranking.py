"""Scores of documents in the formats of Cohere and of Text Embeddings Inference: the model's, best first."""

import math

import pytest

from reasonir.errors import InputError
from reasonir.inference.pruner import Pruner
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
from reasonir.publishing.answers import Answers, Limits
from reasonir.publishing.reranking import rerank
from reasonir.types import Text
from tests.helpers import SENTENCES, load

QUERY, TEXTS = "why does it rain", list(SENTENCES[:6])


@pytest.fixture(scope="module")
def reranker(bert):
    return Reranker(load(bert, "cross_encoder"))


def ask(model, limits=None, /, **body):
    limits = limits or Limits()
    return rerank(Answers(model, limits, name="rain"), {"query": QUERY} | body, limits.deadline())


def test_coheres_format_has_results_best_first(reranker):
    scores = reranker.score(QUERY, TEXTS)
    order = sorted(range(len(TEXTS)), key=lambda index: -scores[index])
    answer = ask(reranker, documents=TEXTS, model="rerank-v3.5")
    assert answer["model"] == "rain"
    assert answer["results"] == [{"index": index, "relevance_score": scores[index]} for index in order]
    objects = [{"text": text, "title": "not read"} for text in TEXTS]
    told = ask(reranker, documents=objects, top_n=2, return_documents=True)["results"]
    assert told == [
        {"index": index, "relevance_score": scores[index], "document": {"text": TEXTS[index]}} for index in order[:2]
    ]


def test_teis_format_is_a_list_best_first(reranker):
    scores = reranker.score(QUERY, TEXTS)
    order = sorted(range(len(TEXTS)), key=lambda index: -scores[index])
    assert ask(reranker, texts=TEXTS) == [{"index": index, "score": scores[index]} for index in order]
    cut = {"truncate": True, "truncation_direction": "Right"}
    told = ask(reranker, texts=TEXTS, raw_scores=True, return_text=True, **cut)
    assert [(each["index"], each["text"]) for each in told] == [(index, TEXTS[index]) for index in order]
    for each in told:
        assert 1 / (1 + math.exp(-each["score"])) == pytest.approx(scores[each["index"]], abs=1e-6)


@pytest.mark.parametrize("head", ["biencoder", "colbert", "gaussian", "splade"])
def test_a_retrievers_scores_are_its_similarities(bert, head):
    retriever = Retriever(load(bert, head))
    expected = retriever.score([Text(QUERY, "prove it")], TEXTS)[0].tolist()
    found = ask(retriever, documents=TEXTS, instruction="prove it")["results"]
    assert [each["relevance_score"] for each in found] == sorted(expected, reverse=True)
    assert {each["index"]: each["relevance_score"] for each in found} == dict(enumerate(expected))


def test_a_pruner_ranks_and_equal_scores_keep_their_order(bert):
    pruner = Pruner(load(bert, "provence"))
    found = ask(pruner, documents=[TEXTS[0]] * 3)["results"]
    assert [each["index"] for each in found] == [0, 1, 2]
    assert found[0]["relevance_score"] == pytest.approx(pruner.score(QUERY, TEXTS[:1])[0])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "either as documents or as texts"),
        ({"documents": ["x"], "texts": ["x"]}, "either as documents or as texts"),
        ({"documents": []}, "documents is empty"),
        ({"texts": []}, "texts is empty"),
        ({"documents": "x"}, "documents is no list"),
        ({"documents": {"text": "x"}}, "documents is no list"),
        ({"documents": ["x", 5]}, "documents[1] is 5"),
        ({"documents": ["x", {"title": "y"}]}, "documents[1] is {'title': 'y'}"),
        ({"documents": ["x", {"text": None}]}, "documents[1] is None"),
        ({"texts": ["x", ""]}, "texts[1] is ''"),
        ({"texts": [float("nan")]}, "texts[0] is nan"),
        ({"documents": ["x"], "query": None}, "query is None"),
        ({"documents": ["x"], "query": " "}, "query is ' '"),
        ({"documents": ["x"], "query": ["y"]}, "query is ['y']"),
        ({"documents": ["x"], "instruction": 5}, "the instruction of query is 5"),
        ({"documents": ["x"], "top_n": 0}, "top_n=0"),
        ({"documents": ["x"], "top_n": 1.5}, "top_n=1.5"),
        ({"documents": ["x"], "top_n": float("nan")}, "top_n=nan"),
        ({"documents": ["x"], "return_documents": "yes"}, "return_documents='yes'"),
        ({"texts": ["x"], "raw_scores": 1}, "raw_scores=1"),
        ({"texts": ["x"], "truncate": False}, "truncate=False: texts are cut"),
        ({"texts": ["x"], "truncation_direction": "left"}, "truncation_direction='left'"),
        ({"documents": ["x"], "rank_fields": ["title"]}, "the body has 'rank_fields'"),
        ({"documents": ["x"] * 4}, "4 documents, at most 3"),
        ({"texts": ["x" * 101]}, "bytes of text, at most 100"),
        ({"texts": ["x", "y"], "query": "z" * 50}, "102 bytes of text, at most 100"),
    ],
)
def test_a_mistake_is_named(reranker, body, message):
    with pytest.raises(InputError) as caught:
        ask(reranker, Limits(documents=3, bytes=100), **body)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
