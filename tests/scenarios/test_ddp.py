"""Two CPU ranks from end to end, in processes of their own, by Lightning's launcher and by torchrun, DDP and FSDP."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch

from reasonir.training.checkpoints import step_of
from tests.running import run

GIVEN = (
    "experiment=demo_tiny",
    "data.variants=1",
    "loader.sample_size=48",
    "loader.batch_size=16",
    "trainer.max_steps=-1",
    "checkpoint.every_n_steps=1",
    "checkpoint.keep_last=9",
    "evaluation.baselines=[untrained]",
)
TWO = ("hardware=ddp", "hardware.accelerator=cpu", "hardware.devices=2")
LIGHTNING = (sys.executable, "-m")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "-m")


def start(launcher, command, *arguments, home):
    """The command with its processes, ended."""
    ended = subprocess.run(
        [*launcher, f"reasonir.{command}", *arguments],
        env={**os.environ, "REASONIR_HOME": str(home), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended


def logged(folder, wanted):
    rows = csv.reader((folder / "metrics.csv").open())
    return [float(value) for _, metric, value in rows if metric == wanted]


def losses(folder):
    return logged(folder, "train/loss")


def figures(folder):
    return json.loads((folder / "results.json").read_text())["results"]["demo"]


@pytest.mark.slow
def test_two_ranks_train_what_one_trains_and_go_on_for_each_other(home, tmp_path):
    """Without dropout losses, weights and figures are those of a single process, however ranks come and go."""
    folder = quiet(tmp_path / "tiny")
    model = ("model=any", f"model.path={folder}", "model.lr=1e-3", "model.learn_temperature=true")
    alone = run("train", *GIVEN, *model, home=home)
    assert alone.status == 0, alone.err
    start(TORCHRUN, "train", *GIVEN, *model, *TWO, home=tmp_path)
    (together,) = (tmp_path / "outputs").iterdir()  # torchrun's ranks have one folder
    assert losses(together) == pytest.approx(losses(alone.folder), rel=1e-3)
    assert figures(together)["untrained"] == figures(alone.folder)["untrained"]
    first, second = (weights(place) for place in (together, alone.folder))
    assert torch.allclose(first, second, atol=2e-3)
    assert not list(together.glob("**/*.partial*"))
    assert (together / "rank_1.log").is_file()

    for started, hardware in ((together, ("hardware=cpu", "hardware.devices=1")), (alone.folder, TWO)):
        copy = tmp_path / f"resumed_{started.name}"
        shutil.copytree(started, copy)
        start(LIGHTNING, "train", f"resume={copy}/checkpoints/step_00000001.ckpt", *hardware, home=tmp_path)
        for metric in ("train/loss", "train/learned_temperature"):
            assert logged(copy, metric) == pytest.approx(logged(alone.folder, metric), rel=1e-3)
        assert torch.allclose(weights(copy), second, atol=2e-3)
    assert len(list((tmp_path / "outputs").iterdir())) == 1

    start(TORCHRUN, "evaluate", f"run={together}", "eval=demo", "logger=none", "hardware=cpu", home=tmp_path)
    (judged,) = set((tmp_path / "outputs").iterdir()) - {together}
    assert figures(judged)["trained"] == figures(together)["trained"]


@pytest.mark.slow
def test_sharded_weights_train_what_whole_ones_train(home, tmp_path):
    """FSDP's losses, development metric and figures are those of one process; it goes on from its own checkpoints."""
    path = f"model.path={quiet(tmp_path / 'tiny')}"
    model = ("model=any", path, "model.lr=1e-3", "model.learn_temperature=true")
    alone = run("train", *GIVEN, *model, home=home)
    assert alone.status == 0, alone.err
    sharded = ("hardware=fsdp", *TWO[1:], "hardware.precision=32-true")
    units = "auto_wrap_policy: {min_num_params: 20000}"  # its layers
    on_cpu = f"hardware.strategy={{_target_: tests.scenarios.cpu_fsdp.CpuFsdp, {units}}}"
    start(LIGHTNING, "train", *GIVEN, *model, *sharded, on_cpu, home=tmp_path)
    (together,) = (tmp_path / "outputs").iterdir()
    for metric in ("train/loss", "train/learned_temperature", "dev/ndcg_at_10"):
        assert logged(together, metric) == pytest.approx(logged(alone.folder, metric), rel=1e-3)
    assert len(set(logged(together, "train/learned_temperature"))) > 1
    assert torch.allclose(weights(together), weights(alone.folder), atol=2e-3)
    assert figures(together)["untrained"] == figures(alone.folder)["untrained"]
    resume = f"resume={together}/checkpoints/step_00000001.ckpt"
    refused = run("train", resume, "hardware=cpu", "hardware.devices=1", "hardware.strategy=auto", home=tmp_path)
    assert refused.status == 2
    assert "was made with FSDP" in refused.err
    start(LIGHTNING, "train", resume, on_cpu, home=tmp_path)
    assert losses(together) == pytest.approx(losses(alone.folder), rel=1e-3)


@pytest.mark.slow
def test_ranks_that_cannot_work_together_are_sent_home(tmp_path):
    with pytest.raises(AssertionError, match="torchrun started 2 processes, hardware=cpu has 1"):
        start(TORCHRUN, "train", *GIVEN, home=tmp_path)
    start(TORCHRUN, "train", *GIVEN, *TWO, "dry_run=true", home=tmp_path)


def weights(folder):
    last = max((folder / "checkpoints").glob("step_*.ckpt"))
    return torch.load(last, weights_only=True)["state_dict"]["encoder.head.projections.0.linear.weight"]


def quiet(folder):
    """The tiny checkpoint with dropout switched off in its configuration."""
    from tests.helpers import tiny_bert

    found = tiny_bert(folder)
    config = json.loads((found / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (found / "config.json").write_text(json.dumps(config))
    return found


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_with_a_checkpoint(tmp_path):
    endless = ("trainer.max_epochs=1000", "checkpoint.every_n_steps=1000", "dev_eval.every_n_steps=9999")
    process = subprocess.Popen(
        [*LIGHTNING, "reasonir.train", *GIVEN, *endless, *TWO],
        env={**os.environ, "REASONIR_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(tmp_path.glob("outputs/*/metrics.csv")):
        time.sleep(0.2)
    process.terminate()
    assert process.wait(120) == 143
    (checkpoint,) = tmp_path.glob("outputs/*/checkpoints/step_*.ckpt")
    assert 0 < step_of(checkpoint) < 1000


@pytest.mark.slow
def test_a_number_that_is_not_finite_ends_every_rank(tmp_path):
    with pytest.raises(AssertionError, match="training stopped at step 1: the loss is nan"):
        start(TORCHRUN, "train", *GIVEN, *TWO, "loss.temperature=1e-40", home=tmp_path)
    (folder,) = (tmp_path / "outputs").iterdir()
    assert not (folder / "checkpoints").exists()
    assert not (folder / "model").exists()
