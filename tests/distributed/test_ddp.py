"""hardware=ddp from end to end, on two CPU ranks, in processes of its own."""

import csv
import json
import os
import subprocess
import sys

import pytest
import torch

from tests.commands import run

GIVEN = (
    "experiment=demo_tiny",
    "data.variants=1",
    "loader.sample_size=48",
    "loader.batch_size=16",
    "trainer.max_steps=-1",
    "evaluation.baselines=[]",
)


def losses(folder):
    rows = csv.reader((folder / "metrics.csv").open())
    return [float(value) for _, metric, value in rows if metric == "train/loss"]


@pytest.mark.slow
def test_two_ranks_train_what_one_trains(home, tmp_path):
    """Without dropout the loss of every step and the weights are those of a single process."""
    folder = quiet(tmp_path / "tiny")
    model = ("model=any", f"model.path={folder}", "model.lr=1e-3")
    alone = run("train", *GIVEN, *model, home=home)
    assert alone.status == 0, alone.err
    together = subprocess.run(
        [
            sys.executable,
            "-m",
            "reasonir.train",
            *GIVEN,
            *model,
            "hardware=ddp",
            "hardware.accelerator=cpu",
            "hardware.devices=2",
        ],
        env={**os.environ, "REASONIR_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert together.returncode == 0, together.stderr[-3000:]
    (found,) = (tmp_path / "outputs").iterdir()
    assert losses(found) == pytest.approx(losses(alone.folder), rel=1e-3)
    assert json.loads((found / "results.json").read_text())["results"]["demo"]["trained"]
    first, second = (
        torch.load(next((place / "checkpoints").glob("step_*.ckpt")), weights_only=True)["state_dict"]
        for place in (found, alone.folder)
    )
    name = "encoder.head.projections.0.linear.weight"
    assert torch.allclose(first[name], second[name], atol=2e-3)
    assert not list((found).glob("**/*.partial*"))


def quiet(folder):
    """The tiny checkpoint with dropout switched off in its configuration."""
    from tests.helpers import tiny_bert

    found = tiny_bert(folder)
    config = json.loads((found / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (found / "config.json").write_text(json.dumps(config))
    return found
