"""Encoding and search are timed if the device's scores are those of the CPU."""

import json

import pytest
import torch

from reasonir.benchmarking import evaluation
from tests.helpers import SENTENCES, load
from tests.running import run

GIVEN = ("mode=evaluation", "model=tiny", "workload=medquad", "batch_size=4", "negatives=2", "repeats=1")


@pytest.mark.parametrize("head", ["colbert", "biencoder", "gaussian"])
def test_a_retriever_is_measured(home, head):
    done = run("bench", *GIVEN, f"model/head={head}", home=home)
    assert done.status == 0, done.err
    (figures,) = json.loads((done.folder / "bench.json").read_text())["evaluation"].values()
    assert (figures["head"], figures["queries"], figures["documents"]) == (head, 4, 12)
    assert figures["tokens_per_s"] / figures["documents_per_s"] == pytest.approx(figures["tokens"] / 12)
    assert figures["scores_per_s"] == pytest.approx(12 * figures["queries_per_s"])
    assert 0 <= figures["score_difference"] < evaluation.TOLERANCE
    assert "medquad-like" in done.out


def test_a_reranker_is_refused(home):
    done = run("bench", *GIVEN, "model/head=cross_encoder", "peers=cross_encoder", home=home)
    assert done.status == 2
    assert "mode=evaluation measures retrievers: set model/head=colbert or model/head=biencoder" in done.err


@pytest.mark.parametrize("difference", [float("nan"), 0.01])
def test_scores_that_differ_from_the_cpus_are_refused(home, monkeypatch, difference):
    monkeypatch.setattr(evaluation, "score_difference", lambda *_: difference)
    done = run("bench", *GIVEN, home=home)
    assert done.status == 2
    assert f"scores of device cpu differ from the CPU's by {difference:.2g} of the largest one" in done.err


def test_the_difference_is_relative_to_the_largest_score(bert, monkeypatch):
    encoder = load(bert, "biencoder")
    real, factors = evaluation.Retriever.score, [1.25, 1.0]
    monkeypatch.setattr(evaluation.Retriever, "score", lambda *given: factors.pop(0) * real(*given))
    assert evaluation.score_difference(encoder, list(SENTENCES[:2]), list(SENTENCES[2:5])) == pytest.approx(0.25)
    assert encoder.may_pack
    assert not torch.is_inference_mode_enabled()
