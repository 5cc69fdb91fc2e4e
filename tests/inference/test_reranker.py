"""One query and one text or many, by rerankers and pruners."""

import numpy as np
import pytest

from reasonir.errors import InputError
from reasonir.inference.pruner import Pruner
from reasonir.inference.reranker import Reranker
from reasonir.types import Text
from tests.helpers import SENTENCES, load

TEXTS = list(SENTENCES[:3])


@pytest.fixture(scope="module", params=["cross_encoder", "provence"])
def reranker(request, bert):
    """A reranker, or a pruner as one."""
    kind = {"cross_encoder": Reranker, "provence": Pruner}[request.param]
    return kind(load(bert, request.param).eval())


def calls(reranker):
    methods = ["score", "rerank", *(["prune"] if isinstance(reranker, Pruner) else [])]
    return [getattr(reranker, name) for name in methods]


def test_a_lone_string_is_one_text(reranker):
    for call in calls(reranker):
        assert call("rain", TEXTS[0]) == call(Text("rain"), TEXTS[:1]) == call("rain", np.array(TEXTS[:1]))
        assert len(call("rain", TEXTS[0])) == 1
        assert call("rain", iter(TEXTS)) == call("rain", TEXTS)
        assert call("rain", []) == []


@pytest.mark.parametrize("texts", [None, 5, b"a", {"x": "a"}, {"x"}, ["a", None], [["a"]], "", ["a", " "]], ids=repr)
def test_what_are_no_texts_is_refused(reranker, texts):
    for call in calls(reranker):
        with pytest.raises(InputError, match=r"^texts(\[\d\])? is "):
            call("rain", texts)


@pytest.mark.parametrize("query", [None, 5, ["a", "b"], ["a"], " ", "\ud800", Text(5), Text("a", None)], ids=ascii)
def test_what_is_no_query_is_refused(reranker, query):
    for call in calls(reranker):
        with pytest.raises(InputError, match="query is "):
            call(query, TEXTS)


@pytest.mark.parametrize("top_k", [-1, 0, True, 1.5, "3", float("nan"), [1]])
def test_top_k_is_a_whole_number_of_one_or_more(reranker, top_k):
    assert len(reranker.rerank("rain", TEXTS, np.int64(2))) == 2
    assert len(reranker.rerank("rain", TEXTS, 10**9)) == 3
    for call in calls(reranker)[1:]:
        with pytest.raises(InputError, match=r"^top_k"):
            call("rain", TEXTS, top_k=top_k)
