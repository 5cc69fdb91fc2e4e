"""A peer's process: what it counts, and that it needs no more than torch to begin."""

import subprocess
import sys

import pytest

from reasonir.benchmarking.peer_server import PeerSession
from reasonir.benchmarking.pylate import PyLate
from reasonir.benchmarking.reasonir_engine import Ours
from reasonir.benchmarking.uncached import UncachedPeer
from tests.benchmarking.given import workload_of
from tests.helpers import load


@pytest.fixture(scope="module")
def workload(bert, tmp_path_factory):
    return workload_of(bert, "colbert", tmp_path_factory.mktemp("export"), budget=(300, 10**6))


def padded(tokens):
    return len(tokens) * int(tokens.lengths_N.max())


def test_positions_are_those_of_every_forward_pass(workload):
    tokenizer = load(workload.model.path, "colbert").head.tokenizer
    batch = workload.batch(tokenizer)
    ours, recomputing = PeerSession(Ours(), workload).check(), PeerSession(Ours(recompute=True), workload).check()
    assert ours.positions == batch.token_count  # packed
    assert ours.passed == ours.positions
    assert (recomputing.positions, recomputing.passed) == (ours.positions, 2 * ours.positions)
    plain, cached = (
        PeerSession(UncachedPeer(), workload).check(),
        PeerSession(PyLate(mini_batch_size=4), workload).check(),
    )
    assert plain.positions == plain.passed > padded(batch.queries)
    assert cached.positions == 6 * 32 + 18 * 64
    assert cached.passed == 2 * cached.positions


def test_the_norm_is_that_of_all_gradients_and_a_step_takes_time(workload):
    session = PeerSession(PyLate(mini_batch_size=4), workload)
    found = session.check()
    assert found.gradient == pytest.approx(PeerSession(UncachedPeer(), workload).check().gradient, rel=1e-4)
    assert session.step() > 0
    assert session.peak_gib() >= 0
    assert session.device_name() == "cpu"


def test_mixed_precision_is_everybodys_and_near(workload):
    from dataclasses import replace

    mixed = replace(workload, precision="bf16-mixed")
    exact = PeerSession(Ours(), workload).check()
    for peer in (Ours(recompute=True), UncachedPeer(), PyLate(mini_batch_size=4)):
        found = PeerSession(peer, mixed).check()
        assert found.loss != exact.loss
        assert found.loss == pytest.approx(exact.loss, rel=2e-2)
        assert found.gradient == pytest.approx(exact.gradient, rel=0.1)


def test_what_other_environments_import_is_light():
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
