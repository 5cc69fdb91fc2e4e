"""Embeddings in OpenAI's format: the retriever's vectors, whole and shortened, and mistakes."""

import base64

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from reasonir.errors import InputError
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
from reasonir.model.prompts import Prompts
from reasonir.publishing.answers import Answers, Limits
from reasonir.publishing.embeddings import embeddings
from reasonir.types import Text
from tests.helpers import SENTENCES, load

TEXTS = list(SENTENCES[:5])
PROMPTS = Prompts(query="Instruct: {instruction}\nQuery: ", document="passage: ", instruction="find it")


@pytest.fixture(scope="module")
def retriever(bert):
    return Retriever(load(bert, "biencoder", model={"prompts": PROMPTS}))


def ask(model, limits=None, /, **body):
    limits = limits or Limits()
    return embeddings(Answers(model, limits, name="rain"), body, limits.deadline())


def test_vectors_are_the_retrievers_in_the_order_of_the_texts(retriever):
    answer = ask(retriever, input=TEXTS, model="text-embedding-3-small", user="me")
    assert answer["object"] == "list"
    assert answer["model"] == "rain"
    assert [(each["object"], each["index"]) for each in answer["data"]] == [("embedding", n) for n in range(5)]
    expected = retriever.encode(TEXTS, "document").values_TD
    assert torch.equal(torch.tensor([each["embedding"] for each in answer["data"]]), expected)
    tokens = int(retriever.encoder.head.tokenizer([Text(text) for text in TEXTS], "document").lengths_N.sum())
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    (one,) = ask(retriever, input=TEXTS[0])["data"]
    assert one["embedding"] == answer["data"][0]["embedding"]


def test_base64_holds_the_same_float32_numbers(retriever):
    """As the openai package decodes it, which asks for base64 by default."""
    plain, packed = (ask(retriever, input=TEXTS, encoding_format=name)["data"] for name in ("float", "base64"))
    for one, other in zip(plain, packed, strict=True):
        assert np.frombuffer(base64.b64decode(other["embedding"]), dtype="float32").tolist() == one["embedding"]


def test_a_text_is_a_document_unless_its_type_says_query(retriever):
    def vector(**body):
        return torch.tensor(ask(retriever, input=TEXTS[0], **body)["data"][0]["embedding"])

    document, query = (retriever.encode(TEXTS[0], side).values_TD[0] for side in ("document", "query"))
    assert not torch.allclose(document, query)
    for kind in (None, "document", "search_document", "passage"):
        assert torch.equal(vector(**({"input_type": kind} if kind else {})), document)
    for kind in ("query", "search_query"):
        assert torch.equal(vector(input_type=kind), query)
    told = retriever.encode(Text(TEXTS[0], "prove it"), "query").values_TD[0]
    assert torch.equal(vector(input_type="query", instruction="prove it"), told)


def test_dimensions_keep_the_first_numbers_at_length_1(retriever):
    whole = retriever.encode(TEXTS, "document").values_TD
    for size in (1, 16, whole.shape[1]):
        found = torch.tensor([each["embedding"] for each in ask(retriever, input=TEXTS, dimensions=size)["data"]])
        torch.testing.assert_close(found, normalize(whole[:, :size], dim=-1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "input is missing"),
        ({"input": []}, "input is missing"),
        ({"input": ""}, "input[0] is ''"),
        ({"input": ["x", " "]}, "input[1] is ' '"),
        ({"input": ["x", None]}, "input[1] is None"),
        ({"input": ["x", float("nan")]}, "input[1] is nan"),
        ({"input": {"text": "x"}}, "input is {'text': 'x'}"),
        ({"input": 5.5}, "input is 5.5"),
        ({"input": ["\ud800"]}, "half of a surrogate pair"),
        ({"input": [1, 2]}, "token ids of another model"),
        ({"input": [[1, 2]]}, "token ids of another model"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format=int8: choose float or base64"),
        ({"input": "x", "dimensions": 0}, "dimensions=0"),
        ({"input": "x", "dimensions": True}, "dimensions=True"),
        ({"input": "x", "dimensions": "8"}, "dimensions='8'"),
        ({"input": "x", "dimensions": float("nan")}, "dimensions=nan"),
        ({"input": "x", "dimensions": 65}, "this model's vectors have 64"),
        ({"input": "x", "input_type": "classification"}, "input_type=classification"),
        ({"input": "x", "input_type": ["query"]}, "input_type="),
        ({"input": "x", "instruction": 5}, "instruction is 5"),
        ({"input": "x", "texts": ["y"]}, "the body has 'texts'"),
        ({"input": ["x"] * 4}, "4 documents, at most 3"),
        ({"input": "x" * 101}, "101 bytes of text, at most 100"),
        ({"input": ["x", "y"], "instruction": "z" * 50}, "102 bytes of text, at most 100"),
    ],
)
def test_a_mistake_is_named(retriever, body, message):
    with pytest.raises(InputError) as caught:
        ask(retriever, Limits(documents=3, bytes=100), **body)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_without_one_vector_per_text_point_to_rerank(bert):
    for model, message in (
        (Retriever(load(bert, "colbert")), "a vector per token, not one embedding: POST /rerank"),
        (Retriever(load(bert, "splade")), "a weight per term, not one embedding: POST /rerank"),
        (Reranker(load(bert, "cross_encoder")), "is a reranker, which gives texts no vectors: POST /rerank"),
    ):
        with pytest.raises(InputError, match=message):
            ask(model, input="x")
    gaussian = Retriever(load(bert, "gaussian"))
    size = len(ask(gaussian, input="x")["data"][0]["embedding"])
    assert ask(gaussian, input="x", dimensions=size) == ask(gaussian, input="x")
    with pytest.raises(InputError, match="can't be shortened"):
        ask(gaussian, input="x", dimensions=size - 1)
