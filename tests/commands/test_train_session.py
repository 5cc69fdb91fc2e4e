"""Tests of the stages of a run."""

from types import SimpleNamespace

import pytest

from reasonir.commands.train_session import evaluation_of
from reasonir.eval.beir import BeirBenchmark
from reasonir.eval.digest import different_conditions
from reasonir.eval.evaluator import EvaluationOptions
from reasonir.index.bm25 import Bm25
from tests.helpers import load


def protocol_of(encoder, folder, **options):
    evaluation = EvaluationOptions(baselines=["untrained"], **options)
    parts = SimpleNamespace(index=None, index_stamp={}, seed=0, evaluation=evaluation, folder=folder)
    hardware, benchmark = SimpleNamespace(accelerator="cpu"), BeirBenchmark("x")
    return evaluation_of(parts, [], encoder, path="x", hardware=hardware, benchmark=benchmark).results.protocol


def test_the_precision_is_a_condition_of_results(bert, tmp_path):
    encoder = load(bert, "biencoder")
    exact = protocol_of(encoder, tmp_path)
    encoder.precision = "bf16-mixed"
    found = different_conditions({"exact": exact, "rounded": protocol_of(encoder, tmp_path)})
    assert found == {"precision": {"exact": "32-true", "rounded": "bf16-mixed"}}


@pytest.mark.parametrize(("head", "differ"), [("cross_encoder", True), ("biencoder", False)])
@pytest.mark.parametrize("options", [{"rerank_depth": 10}, {"bm25": Bm25(k1=1.2)}])
def test_what_a_reranker_orders_is_a_condition_of_its_results(bert, tmp_path, head, differ, options):
    encoder = load(bert, head)
    protocols = {"usual": protocol_of(encoder, tmp_path), "other": protocol_of(encoder, tmp_path, **options)}
    assert bool(different_conditions(protocols)) is differ
