"""Tests that need a CUDA device: float16 with loss scaling, and the engine's equality there. Run with -m gpu."""

import csv

import pytest
import torch

from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from reasonir.loss.cached_contrastive import CachedContrastive
from tests.helpers import batch_of, examples, gradients, largest_difference, load
from tests.running import run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def losses(folder):
    rows = csv.reader((folder / "metrics.csv").open())
    return [float(value) for _, metric, value in rows if metric == "train/loss"]


@pytest.mark.parametrize("head", ["colbert", "biencoder"])
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_trains_as_float32_does(home, head, precision):
    given = ("experiment=demo_tiny", "hardware=auto", f"model/head={head}", "evaluation.baselines=[]")
    plain = run("train", *given, "hardware.precision=32-true", home=home)
    mixed = run("train", *given, f"hardware.precision={precision}", home=home)
    assert plain.status == mixed.status == 0, plain.err + mixed.err
    assert losses(mixed.folder) == pytest.approx(losses(plain.folder), rel=0.1)


def test_a_float16_run_is_resumed_with_its_loss_scale(home):
    given = ("experiment=demo_tiny", "hardware=auto", "hardware.precision=16-mixed", "evaluation.baselines=[]")
    part = run("train", *given, "trainer.max_steps=4", home=home)
    checkpoint = torch.load(next((part.folder / "checkpoints").glob("step_*4.ckpt")), weights_only=True)
    assert checkpoint["MixedPrecision"]["scale"] > 1
    again = run("train", f"resume={part.folder}", "trainer.max_steps=8", home=home)
    assert again.status == 0, again.err
    assert len(losses(part.folder)) == 8


@pytest.mark.parametrize("head", ["colbert", "biencoder"])
def test_recomputed_segments_draw_the_same_dropout(bert, head):
    encoder = load(bert, head, dropout=0.2).cuda()
    batch = batch_of(encoder, examples(12))
    found = []
    for kept in (0, 10**9):
        encoder.zero_grad()
        torch.manual_seed(0)
        run_step(encoder, CachedContrastive(1.0), batch, Budget(200, kept), Alone())["loss"].backward()
        found.append(gradients(encoder))
    assert largest_difference(*found) < 1e-4
