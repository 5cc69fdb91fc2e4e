"""Every number format takes the steps that float32 takes, whatever the optimiser, clipping and accumulation."""

import pytest
import torch
from torch.utils.data import DataLoader

from reasonir.cli.configuration import build
from reasonir.config import CONF
from reasonir.engine.step import Budget
from reasonir.hardware import Hardware
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.provence import ProvenceLoss
from reasonir.training.module import RetrieverModule
from reasonir.training.optim import Optim
from reasonir.training.options import TrainerOptions
from reasonir.training.trainer import build_trainer
from tests.helpers import batch_of, examples, load

OBJECTIVES = {"colbert": CachedContrastive(0.5), "cross_encoder": Bce(), "provence": ProvenceLoss(Bce())}
STEPS = 3


def train(folder, head, precision, *, tmp_path, optimiser="adamw", clip=1.0, accumulate=1, scale=None):
    """(the changes of all weights, the module) after STEPS optimiser steps."""
    encoder = load(folder, head)
    before = {name: value.detach().clone() for name, value in encoder.named_parameters() if value.requires_grad}
    module = RetrieverModule(
        encoder, OBJECTIVES[head], Optim(optimiser, lr=1e-3, warmup=0), Budget(400, 400), steps=STEPS, seed=1
    )
    module.transfer_batch_to_device = lambda batch, device, number: batch  # the engine sends what it needs
    batches = [batch_of(encoder, examples(6 + number % 2), step=number) for number in range(STEPS * accumulate)]
    trainer = build_trainer(
        TrainerOptions(accumulate_grad_batches=accumulate, gradient_clip_val=clip),
        Hardware("cpu", "cpu", precision=precision),
        logger=False,
        default_root_dir=str(tmp_path),
    )
    if scale is not None:
        trainer.precision_plugin.scaler._init_scale = scale
    trainer.fit(module, DataLoader(batches, batch_size=None))
    after = dict(encoder.named_parameters())
    return {name: after[name].detach() - value for name, value in before.items()}, module


def apart(first, second):
    """Distance of two changes of all weights, relative to the length of the second."""
    one, other = (torch.cat([each[name].flatten() for name in second]) for each in (first, second))
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
@pytest.mark.parametrize("head", OBJECTIVES)
def test_mixed_precision_takes_the_steps_of_float32(bert, tmp_path, head, optimiser, clip, accumulate):
    given = {"optimiser": optimiser, "clip": clip, "accumulate": accumulate, "tmp_path": tmp_path}
    expected, plain = train(bert, head, "32-true", **given)
    for precision, tolerance in (("bf16-mixed", 0.3), ("16-mixed", 0.1)):
        found, module = train(bert, head, precision, **given)
        distance = apart(found, expected)
        assert distance < tolerance, distance
        assert float(module.norm) == pytest.approx(float(plain.norm), rel=0.03)


@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
def test_steps_that_overflow_are_skipped_and_the_scale_comes_down(bert, tmp_path, optimiser):
    scale = 2.0**100
    found, module = train(bert, "colbert", "16-mixed", optimiser=optimiser, tmp_path=tmp_path, scale=scale)
    assert all(not change.any() for change in found.values())
    assert not module.norm.isfinite()
    assert module.trainer.precision_plugin.scaler.get_scale() == scale / 2**STEPS


def profiles():
    """Every profile that one process can take the place of: FSDP needs GPUs, and has a test with two processes."""
    return [file.stem for file in sorted((CONF / "hardware").glob("*.yaml")) if file.stem != "fsdp"]


@pytest.mark.parametrize("profile", profiles())
def test_every_profile_takes_a_step_at_its_precision(bert, composed, tmp_path, profile):
    config = composed("train", f"hardware={profile}", "hardware.accelerator=cpu", "hardware.devices=1")
    hardware = build(config.hardware).resolve()
    found, module = train(bert, "colbert", hardware.precision, tmp_path=tmp_path)
    assert module.trainer.precision == hardware.precision
    assert any(change.any() for change in found.values())
