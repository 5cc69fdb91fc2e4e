"""Tests of the stages of a run."""

from types import SimpleNamespace

import pytest

from reasonir.commands.train_session import evaluation_of
from reasonir.eval.beir import BeirBenchmark
from reasonir.eval.digest import different_conditions
from reasonir.eval.evaluator import EvaluationOptions
from reasonir.index.bm25 import Bm25
from tests.helpers import load


@pytest.mark.parametrize(("head", "differ"), [("cross_encoder", True), ("biencoder", False)])
@pytest.mark.parametrize("options", [{"rerank_depth": 10}, {"bm25": Bm25(k1=1.2)}])
def test_what_a_reranker_orders_is_a_condition_of_its_results(bert, tmp_path, head, differ, options):
    encoder, hardware = load(bert, head), SimpleNamespace(accelerator="cpu")

    def protocol(**options):
        evaluation = EvaluationOptions(baselines=["untrained"], **options)
        parts = SimpleNamespace(index=None, index_stamp={}, seed=0, evaluation=evaluation, folder=tmp_path)
        made = evaluation_of(parts, [], encoder, path="x", hardware=hardware, benchmark=BeirBenchmark("x"))
        return made.results.protocol

    assert bool(different_conditions({"usual": protocol(), "other": protocol(**options)})) is differ
