"""The benchmark from the command line, and the input that it refuses."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from reasonir.benchmarking.reasonir_engine import ReasonirEngine
from reasonir.benchmarking.setup import with_negatives
from reasonir.cli.check import problems
from reasonir.config import CONF
from tests.running import run

SMALL = ("model=tiny", "hardware=cpu", "batch_size=6", "repeats=2")
PEERS = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
REASONIR = {"reasonir", "reasonir_recomputing", "uncached"}
PEERS_OF = {
    "colbert": {"pylate", "pylate_cached"},
    "biencoder": {"sentence_transformers", "sentence_transformers_cached"},
    "cross_encoder": {"sentence_transformers"},
    "yes_no": set(),
}
NEWEST = {
    "colbert": {"sentence_transformers_6_cached", "sentence_transformers_6_tokens"},
    "biencoder": {"sentence_transformers_6_cached", "sentence_transformers_6_tokens"},
    "cross_encoder": {"sentence_transformers_6"},
    "yes_no": {"sentence_transformers_6"},
}
HEADS = ("colbert", "biencoder", "cross_encoder", "yes_no")
"""Heads that peers train; each has an option of peers of its name."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "model", "workload"),
    [
        # PyLate scores masked tokens 0, which may exceed a random model's similarities: real weights for it
        ("colbert", "minilm", "data"),
        ("biencoder", "tiny", "scifact"),
        ("cross_encoder", "tiny", "data"),
        ("yes_no", "tiny_reranker", "scifact"),
    ],
)
def test_all_peers_compute_the_same_step(home, group, model, workload):
    options = [f"peers={group}", f"model={model}", f"model/head={group}", f"workload={workload}"]
    done = run("bench", *SMALL, *options, "logger=mlflow", "experiment_name=bench", f"+tags.group={group}", home=home)
    expect(done, REASONIR | PEERS_OF[group])
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bench").experiment_id
    (tracked,) = client.search_runs([experiment], f"tags.group = '{group}'")
    written = json.loads((done.folder / "bench.json").read_text())["workloads"].popitem()[1]["peers"]["uncached"]
    assert tracked.data.metrics["bench/uncached/step_s"] == written["step_s"]
    assert tracked.data.params["batch_size"] == "6"
    assert {file.path for file in client.list_artifacts(tracked.info.run_id)} == {"bench.json", "bench.png"}


@pytest.mark.slow
@pytest.mark.skipif(not PEERS.is_file(), reason="make bench-peers builds the environment")
@pytest.mark.parametrize("group", HEADS)
def test_the_newest_peers_compute_the_same_step(home, group):
    given = [f"peers={group}_peers", f"model/head={group}", "workload=medquad", f"peers_python={PEERS}"]
    given += ["model=tiny_reranker"] if group == "yes_no" else []
    expect(run("bench", *SMALL, *given, home=home), REASONIR | PEERS_OF[group] | NEWEST[group])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "given"),
    [
        ("colbert", ["model.head.document_length=600"]),
        ("biencoder", ["model/head=biencoder", "model.head.pooling=lasttoken", "model.head.max_length=600"]),
    ],
)
def test_gpu_options_run_at_the_smallest_size(home, group, given):
    options = ("hardware=auto", "hardware.precision=bf16-mixed", "workload=medquad", "memory_cap_gib=15")
    alike = ("model=random_qwen_tiny", "batch_size=4", "repeats=1", "peak_tflops=0.1", f"peers={group}")
    done = run("bench", *options, *alike, *given, home=home)
    assert done.status == 0, done.err
    (workload,) = json.loads((done.folder / "bench.json").read_text())["workloads"].values()
    assert workload["precision"] == "bf16-mixed"
    assert set(workload["peers"]) == REASONIR | PEERS_OF[group]
    assert all(figures["mfu"] > 0 for figures in workload["peers"].values())


@pytest.mark.parametrize("group", sorted(file.stem for file in (CONF / "peers").glob("*.yaml")))
def test_every_group_of_peers_composes_and_binds(composed, group):
    name = group.removesuffix("_peers")
    model = "tiny_reranker" if name == "yes_no" else "tiny"
    config = composed("bench", f"model={model}", f"model/head={name}", f"peers={group}")
    assert problems(config) == []
    expected = REASONIR | PEERS_OF[name] | (NEWEST[name] if group != name else set())
    assert set(config.peers) == expected


@pytest.mark.parametrize("workload", ["data", "even", "scifact", "medquad"])
def test_every_workload_composes_and_binds(composed, workload):
    assert problems(composed("bench", f"workload={workload}")) == []


def expect(done, peers):
    assert done.status == 0, done.err
    (workload,) = json.loads((done.folder / "bench.json").read_text())["workloads"].values()
    assert set(workload["peers"]) == peers
    first = workload["peers"]["reasonir"]
    for figures in workload["peers"].values():
        assert figures["loss"] == pytest.approx(first["loss"], rel=2e-3)
        assert figures["gradient_norm"] == pytest.approx(first["gradient_norm"], rel=3e-2)
        assert len(figures["seconds"]) == 2
        assert figures["tokens_per_s"] == pytest.approx(workload["tokens"] / figures["step_s"])
        assert 0 <= figures["padding"] < 1
    assert set(workload["ratios"]) == peers - {"reasonir"}
    assert set(workload["over_uncached"]) == peers - {"uncached"}
    assert (done.folder / "bench.png").stat().st_size > 5000


def test_a_peer_that_cannot_train_the_head_is_named(home):
    done = run("bench", *SMALL, "model/head=biencoder", home=home)
    assert done.status == 2
    assert "peers pylate, pylate_cached can't train a BiEncoder: set peers=biencoder" in done.err


def test_a_head_that_no_peer_trains_is_named(home):
    done = run("bench", *SMALL, "model/head=provence", "peers=cross_encoder", home=home)
    assert done.status == 2
    assert "sentence_transformers can't train a Provence: none can, set another model/head" in done.err


def test_rerankers_without_negatives_get_the_next_querys_positive():
    assert with_negatives([["q1", "q2", "q3"], ["a", "b", "c"]])[2] == ["b", "c", "a"]
    given = [["q1", "q2"], ["a", "b"], ["n1", "n2"]]
    assert with_negatives(given) == given


@dataclass(frozen=True)
class Broken(ReasonirEngine):
    """Peer that fails while loading, as one that isn't installed."""

    def load(self, workload):
        raise ImportError("no such package")


@dataclass(frozen=True)
class Killed(ReasonirEngine):
    """Peer that is killed while loading, as by the system when memory runs out."""

    def load(self, workload):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("repeats=0", "repeats=0: give 1 or more"),
        ("batch_size=1", "batch_size=1: give 2 or more"),
        (
            "mode=compaer",
            "mode=compaer: choose compare, max_batch, scaling, evaluation or proof (did you mean 'compare'?)",
        ),
        ("logger=mlfow", "logger=mlfow: there is no such option (did you mean 'mlflow'?)"),
    ],
)
def test_invalid_options_are_refused(home, given, message):
    done = run("bench", *SMALL, given, home=home)
    assert done.status == 2
    assert message in done.err


def test_a_missing_environment_is_refused_with_the_command_that_builds_it(home):
    done = run("bench", *SMALL, "peers=colbert_peers", "peers_python=nowhere/python", home=home)
    assert done.status == 2
    assert (
        "peers_python=nowhere/python: there is no such interpreter: run make bench-peers to build that environment"
        in done.err
    )
    assert done.err.count("nowhere/python") == 1


@pytest.mark.parametrize(
    ("peer", "message"),
    [
        ("Broken", "peer one failed: ImportError: no such package"),
        ("Killed", "peer one was killed (out of memory?): reduce batch_size"),
    ],
)
def test_a_peer_that_fails_is_named(home, peer, message):
    given = [f"+peers.one={{_target_: tests.benchmarking.test_compare.{peer}}}"]
    given += [f"~peers.{name}" for name in ("reasonir", "reasonir_recomputing", "uncached", "pylate", "pylate_cached")]
    done = run("bench", *SMALL, *given, home=home)
    assert done.status == 2
    assert message in done.err
