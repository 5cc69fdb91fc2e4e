"""Process of a peer: its measurements, and light imports."""

import subprocess
import sys

import pytest

from reasonir.benchmarking.peer_server import PeerSession
from reasonir.benchmarking.pylate import PyLate
from reasonir.benchmarking.reasonir_engine import ReasonirEngine
from reasonir.benchmarking.uncached import UncachedPeer
from tests.benchmarking.workloads import workload_of
from tests.helpers import load


@pytest.fixture(scope="module")
def workload(bert, tmp_path_factory):
    return workload_of(bert, "colbert", tmp_path_factory.mktemp("export"), budget=(300, 10**6))


def padded(tokens):
    return len(tokens) * int(tokens.lengths_N.max())


def test_positions_are_those_of_every_forward_pass(workload):
    pytest.importorskip("pylate")
    tokenizer = load(workload.model.path, "colbert").head.tokenizer
    batch = workload.batch(tokenizer)
    engine, recomputing = (
        PeerSession(ReasonirEngine(), workload).check(),
        PeerSession(ReasonirEngine(recompute=True), workload).check(),
    )
    assert engine.positions == batch.token_count  # packed
    assert engine.forward_positions == engine.positions
    assert (recomputing.positions, recomputing.forward_positions) == (engine.positions, 2 * engine.positions)
    uncached, cached = (
        PeerSession(UncachedPeer(), workload).check(),
        PeerSession(PyLate(mini_batch_size=4), workload).check(),
    )
    assert uncached.positions == uncached.forward_positions > padded(batch.queries)
    assert cached.positions == 6 * 32 + 18 * 64
    assert cached.forward_positions == 2 * cached.positions


def test_the_gradient_norm_agrees_across_peers_and_a_step_takes_time(workload):
    pytest.importorskip("pylate")
    session = PeerSession(PyLate(mini_batch_size=4), workload)
    first_step = session.check()
    assert first_step.gradient == pytest.approx(PeerSession(UncachedPeer(), workload).check().gradient, rel=1e-4)
    assert session.step() > 0
    assert session.peak_gib() >= 0
    assert session.device_name() == "cpu"


def test_mixed_precision_applies_to_every_peer_and_is_close(workload):
    pytest.importorskip("pylate")
    from dataclasses import replace

    mixed = replace(workload, precision="bf16-mixed")
    exact = PeerSession(ReasonirEngine(), workload).check()
    for peer in (ReasonirEngine(recompute=True), UncachedPeer(), PyLate(mini_batch_size=4)):
        first_step = PeerSession(peer, mixed).check()
        assert first_step.loss != exact.loss
        assert first_step.loss == pytest.approx(exact.loss, rel=2e-2)
        assert first_step.gradient == pytest.approx(exact.gradient, rel=0.1)


def test_imports_in_other_environments_are_light():
    script = (
        "import sys, reasonir.benchmarking.peer_server, reasonir.benchmarking.multi_vector\n"
        "import reasonir.benchmarking.logit_score\n"
        "import reasonir.benchmarking.sentence_transformers, reasonir.benchmarking.cross_encoder\n"
        "import reasonir.model.head.colbert, reasonir.model.head.biencoder, reasonir.model.head.cross_encoder\n"
        "import reasonir.model.head.yes_no\n"
        "print(sorted({'pylate', 'hydra', 'omegaconf', 'lightning', 'mlflow', 'datasets', 'pyarrow', 'rich', 'peft'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
