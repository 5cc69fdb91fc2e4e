"""Training ends at its first number that isn't finite, and nothing of it is saved, exported or registered."""

import csv
import sqlite3

import pytest
import torch

from reasonir.errors import InputError
from reasonir.model.encoder import Encoder
from reasonir.training import nonfinite
from reasonir.training.nonfinite import GRADIENT_NORM, MAX_SKIPPED, NonFiniteGuard, nonfinite_weights
from tests.helpers import is_traced, load
from tests.running import run

TINY = ("experiment=demo_tiny", "evaluation.baselines=[]", "hardware=cpu", "loader.workers=0")


def numbers(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_the_first_number_that_is_not_finite_is_named_with_its_step_and_batch():
    guard = NonFiniteGuard()
    guard.watch(1, 0, numbers(loss=1.0, bce=2.0))
    assert guard.first(wait=False) is None
    guard.watch(2, 7, numbers(loss=torch.nan, bce=torch.inf))
    guard.watch(2, 7, {GRADIENT_NORM: torch.tensor(torch.nan)})
    finding = guard.first(wait=True)
    assert (finding.step, finding.batch, finding.reason) == (2, 7, "the bce is inf")
    message = finding.message(["why", "how", "when", "where"])
    assert "stopped at step 2: the bce is inf; batch 7 has the queries 'why', 'how', 'when' and 1 more." in message
    assert "optim.lr" in message


def test_skipped_steps_are_normal_under_loss_scaling_but_not_many_in_a_row():
    guard = NonFiniteGuard(scaled=True)
    bad, good = {GRADIENT_NORM: torch.tensor(torch.inf)}, {GRADIENT_NORM: torch.tensor(1.0)}
    for step in range(MAX_SKIPPED - 1):
        guard.watch(step, step, bad)
    guard.watch(98, 98, good)
    guard.watch(99, 99, bad)
    assert guard.first(wait=True) is None
    for step in range(100, 100 + MAX_SKIPPED - 1):
        guard.watch(step, step, bad)
    finding = guard.first(wait=True)
    assert finding.step == 100 + MAX_SKIPPED - 2
    assert f"{MAX_SKIPPED} optimiser steps in a row were skipped" in finding.reason


def test_a_loss_that_is_not_finite_counts_under_loss_scaling_too():
    guard = NonFiniteGuard(scaled=True)
    guard.watch(1, 0, numbers(loss=torch.nan))
    assert guard.first(wait=True).reason == "the loss is nan"


def test_weights_that_are_not_finite_are_counted():
    module = torch.nn.Linear(2, 2)
    assert nonfinite_weights(module) is None
    module.bias.data[0] = torch.inf
    assert nonfinite_weights(module) == "1 of 2 weight tensors are not finite (bias first)"


def left(folder):
    """Files of a run that look like a result."""
    names = [file.name for file in (folder / "checkpoints").glob("*")] if (folder / "checkpoints").is_dir() else []
    return names + [name for name in ("model", "results.json") if (folder / name).exists()]


def status(home):
    database = sqlite3.connect(home / "mlflow.db")
    runs = database.execute("select status from runs order by start_time").fetchall()
    return [each for (each,) in runs], database.execute("select count(*) from model_versions").fetchone()[0]


def test_a_loss_that_overflows_stops_the_run_before_anything_is_saved(tmp_path):
    done = run("train", *TINY, "logger=mlflow", "loss.temperature=1e-40", home=tmp_path)
    assert done.status == 2
    assert "training stopped at step 1: the loss is" in done.err
    assert "batch 0 has the queries" in done.err
    assert left(done.folder) == []
    assert status(tmp_path) == (["FAILED"], 0)


@pytest.mark.parametrize("steps", [1, 3])
def test_weights_are_looked_at_before_they_are_saved(home, monkeypatch, steps):
    """The loss of a single step says nothing of what its update made of the weights."""
    step = torch.optim.AdamW.step

    def broken(self, *args, **kwargs):
        result = step(self, *args, **kwargs)
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(torch.nan)
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", broken)
    done = run("train", *TINY, "logger=csv", f"trainer.max_steps={steps}", home=home)
    assert done.status == 2
    assert ("weight tensors are not finite" if steps == 1 else "step 2: the max_score is nan") in done.err
    assert left(done.folder) == []


def test_what_was_saved_before_stays(home, monkeypatch):
    forward, passes = Encoder.forward, [0]

    def failing(encoder, padded):
        training = torch.is_grad_enabled() and not is_traced(encoder)
        passes[0] += training
        values = forward(encoder, padded)
        return values * torch.nan if training and passes[0] > 2 else values

    given = ("checkpoint.every_n_steps=1", "trainer.max_steps=4", "logger=csv", "hardware.max_saved_tokens=1000000")
    monkeypatch.setattr(Encoder, "forward", failing)
    done = run("train", *TINY, *given, "hardware.micro_batch_tokens=1000000", home=home)
    assert done.status == 2
    assert "stopped at step 3" in done.err
    assert sorted(left(done.folder)) == ["step_00000001.ckpt", "step_00000002.ckpt"]
    rows = [row for row in csv.reader((done.folder / "metrics.csv").open()) if row[1] == "train/loss"]
    assert [int(step) for step, *_ in rows] == [1, 2]


def test_many_skipped_steps_end_a_float16_run(home, monkeypatch):
    monkeypatch.setattr(nonfinite, "MAX_SKIPPED", 3)
    backward = torch.Tensor.backward

    def overflowing(self, gradient=None, **kwargs):
        return backward(self, gradient * torch.inf if gradient is not None else None, **kwargs)

    monkeypatch.setattr(torch.Tensor, "backward", overflowing)
    done = run("train", *TINY, "logger=csv", "trainer.max_steps=5", "hardware.precision=16-mixed", home=home)
    assert done.status == 2
    assert "step 3: 3 optimiser steps in a row were skipped" in done.err
    assert left(done.folder) == []


def test_a_model_that_gives_no_finite_values_is_not_searched_with(bert):
    encoder = load(bert, "biencoder")
    next(encoder.parameters()).data.fill_(torch.nan)
    from reasonir.types import Text

    with pytest.raises(InputError, match="values that are not finite"):
        encoder.encode([Text("a text")], "document")


@pytest.mark.parametrize(
    "key", ["optim.weight_decay", "optim.head_lr", "trainer.gradient_clip_val", "loss.temperature"]
)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_options_are_finite(home, key, value):
    done = run("train", *TINY, f"{key}={value}", home=home)
    assert done.status == 2
    assert f"{key}={value}: give a finite number" in done.err
