"""Pipelines as Python code builds and asks them; `tests.eval.test_pipeline` has their figures."""

import pytest

from reasonir.errors import InputError
from reasonir.inference.pipeline import Pipeline
from reasonir.inference.pruner import Pruner
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
from reasonir.types import Text
from tests.helpers import SENTENCES, load


@pytest.fixture(scope="module")
def pipeline(bert):
    """BM25 and a reranker."""
    pipeline = Pipeline(reranker=Reranker(load(bert, "cross_encoder").eval()))
    pipeline.add_documents(SENTENCES)
    return pipeline


def test_one_query_gets_an_answer_and_several_a_list(pipeline):
    passages = pipeline.search("bees dance", 2).passages
    assert pipeline.search(Text("bees dance"), 2).passages == passages
    several = pipeline.search(["bees dance", "copper"], 2)
    assert [len(answer.passages) for answer in several] == [len(passages), 1]
    assert several[0].passages == passages
    assert pipeline.search([]) == []
    assert Pipeline().search("bees").passages == []


def test_a_single_stage_is_a_pipeline():
    alone = Pipeline()
    alone.add_documents({"b": "bees dance"})
    assert [(hit.id, hit.kept) for hit in alone.search("bees").passages] == [("b", "bees dance")]
    assert "bees" not in repr(alone)


@pytest.mark.parametrize("query", [None, 5, b"a", {"x": "a"}, ["a", None], [["a"]], "", " ", "\ud800"], ids=ascii)
def test_what_is_no_query_is_refused(pipeline, query):
    with pytest.raises(InputError, match=r"^query(\[\d\])? is "):
        pipeline.search(query)


@pytest.mark.parametrize("number", [-1, 0, True, 1.5, "3", float("nan"), [1], None])
def test_numbers_are_whole_and_one_or_more(pipeline, number):
    with pytest.raises(InputError, match=r"^top_k"):
        pipeline.search("bees", number)
    with pytest.raises(InputError, match="candidates"):
        Pipeline(candidates=number)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, 1.5, float("nan"), float("inf"), True, "0.1", None])
def test_thresholds_are_probabilities(bert, threshold):
    for build in (lambda: Pruner(load(bert, "provence"), threshold), lambda: Pipeline.load(threshold=threshold)):
        with pytest.raises(InputError, match="threshold"):
            build()


def test_stages_are_loaded_models_of_their_kind(bert, tmp_path):
    retriever, reranker = Retriever(load(bert, "colbert")), Reranker(load(bert, "cross_encoder"))
    with pytest.raises(InputError, match="2 mistakes in Pipeline"):
        Pipeline(retriever, retriever, reranker)
    with pytest.raises(InputError, match="retriever='bm25'"):
        Pipeline("bm25")
    for path in (5, "", ["a"], tmp_path / "none"):
        for stage in ("retriever", "reranker", "pruner"):
            with pytest.raises(InputError, match=r"path is|neither a folder nor a hub id"):
                Pipeline.load(**{stage: path})
