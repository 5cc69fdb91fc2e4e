"""Every peer of this environment computes the same loss and gradients, parameter by parameter."""

import pytest
import torch

from reasonir.benchmarking.cross_encoder import CrossEncoderPeer
from reasonir.benchmarking.peer_server import without_dropout
from reasonir.benchmarking.pylate import PyLate
from reasonir.benchmarking.reasonir_engine import ReasonirEngine
from reasonir.benchmarking.sentence_transformers import SentenceTransformers
from reasonir.benchmarking.uncached import UncachedPeer
from reasonir.data.batch import PairBatch
from tests.benchmarking.workloads import workload_of
from tests.helpers import gradients, largest_difference, load

CASES = [
    *((head, peer) for head in ("colbert", "biencoder", "cross_encoder", "yes_no") for peer in (UncachedPeer(),)),
    *((head, ReasonirEngine(recompute=True)) for head in ("colbert", "yes_no")),
    ("colbert", UncachedPeer(documents=5)),
    ("colbert", PyLate()),
    ("colbert", PyLate(mini_batch_size=4)),
    ("biencoder", SentenceTransformers()),
    ("biencoder", SentenceTransformers(mini_batch_size=4)),
    ("cross_encoder", CrossEncoderPeer()),
]
NAMES = {
    "backbone.": "",
    "head.classifier.bert.": "",
    "head.classifier.": "",
    "head.projections.0.": "dense.",
    "0.auto_model.": "",
    "0.model.bert.": "",  # of sentence-transformers, from 6 on
    "0.model.": "",
    "1.linear.": "dense.linear.",
    "model.bert.": "",
    "model.": "",
}


@pytest.fixture(scope="module")
def workloads(bert, decoder, tmp_path_factory):
    workloads = {}

    def of(head):
        if head not in workloads:
            checkpoint = decoder if head == "yes_no" else bert
            workloads[head] = workload_of(checkpoint, head, tmp_path_factory.mktemp(head))
        return workloads[head]

    return of


def step(peer, workload):
    """Return the loss and every gradient, by the backbone's parameter names."""
    model, loss = peer.load(workload)
    model.train()
    without_dropout(model)
    value = loss()
    value.backward()
    scale = peer.gradient_scale(workload)
    scaled = {}
    for name, gradient in gradients(model).items():
        prefix = next((prefix for prefix in NAMES if name.startswith(prefix)), "")
        scaled[NAMES.get(prefix, "") + name.removeprefix(prefix)] = gradient / scale
    return value.item(), scaled


@pytest.mark.parametrize(("head", "peer"), CASES, ids=[f"{head}-{peer}" for head, peer in CASES])
def test_every_peer_computes_the_engines_step(workloads, head, peer):
    if isinstance(peer, PyLate):
        pytest.importorskip("pylate")
    workload = workloads(head)
    expected_loss, expected_gradients = step(ReasonirEngine(), workload)
    loss, peer_gradients = step(peer, workload)
    assert expected_loss == pytest.approx(loss, rel=1e-5)
    assert len(expected_gradients) > 20
    assert largest_difference(expected_gradients, peer_gradients) < 5e-5


def test_workloads_have_short_and_truncated_documents(workloads):
    workload = workloads("cross_encoder")
    batch = workload.batch(load(workload.model.path, "cross_encoder", max_length=64).head.tokenizer)
    assert isinstance(batch, PairBatch)
    assert batch.tokens.lengths_N.min() < 32
    assert batch.tokens.lengths_N.max() == 64
    assert batch.label_P.tolist() == torch.tensor([[1.0, 0.0, 0.0]]).repeat(6, 1).flatten().tolist()
