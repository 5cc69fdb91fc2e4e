"""Every number format takes the steps that float32 takes, whatever the optimiser, clipping and accumulation."""

import csv
from functools import partial

import pytest
import torch
from torch.amp.grad_scaler import GradScaler
from torch.utils.data import DataLoader

from reasonir.cli.configuration import build
from reasonir.config import CONF
from reasonir.engine.step import Budget
from reasonir.hardware import Hardware
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.gaussian import GaussianLoss
from reasonir.loss.provence import ProvenceLoss
from reasonir.loss.splade import SpladeLoss
from reasonir.training import trainer
from reasonir.training.module import RetrieverModule
from reasonir.training.optim import Optim, steps_taken
from reasonir.training.options import TrainerOptions
from reasonir.training.trainer import build_trainer
from tests.helpers import batch_of, examples, load
from tests.running import run

OBJECTIVES = {
    "colbert": CachedContrastive(0.5),
    "biencoder": CachedContrastive(0.5),
    "gaussian": GaussianLoss(0.5),
    "splade": SpladeLoss(0.5),
    "cross_encoder": Bce(),
    "yes_no": Bce(),
    "provence": ProvenceLoss(Bce()),
}
STEPS = 3


class Recording(RetrieverModule):
    """Records of every optimiser step: its gradient norm, and whether a weight moved."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.norms, self.moved = [], []

    def optimizer_step(self, *args, **kwargs):
        before = [weight.detach().clone() for weight in self.parameters()]
        super().optimizer_step(*args, **kwargs)
        self.norms.append(float(self.norm))
        self.moved.append(not all(map(torch.equal, before, self.parameters())))


def train(
    folder, head, precision, *, tmp_path, optimiser="adamw", lr=1e-3, clip=1.0, accumulate=1, batches=None, scale=None
):
    """(the changes of all weights, the module) after STEPS optimiser steps, or as many as `batches` give."""
    batches = batches or STEPS * accumulate
    encoder = load(folder, head)
    before = {name: value.detach().clone() for name, value in encoder.named_parameters() if value.requires_grad}
    optim, steps = Optim(optimiser, lr=lr, warmup=0), -(-batches // accumulate)
    module = Recording(encoder, OBJECTIVES[head], optim, Budget(400, 400), steps=steps, seed=1)
    module.transfer_batch_to_device = lambda batch, device, number: batch  # the engine sends what it needs
    batches = [batch_of(encoder, examples(6 + number % 2), step=number) for number in range(batches)]
    lightning = build_trainer(
        TrainerOptions(accumulate_grad_batches=accumulate, gradient_clip_val=clip),
        Hardware("cpu", "cpu", precision=precision),
        logger=False,
        default_root_dir=str(tmp_path),
    )
    if scale is not None:
        lightning.precision_plugin.scaler._init_scale = scale
    lightning.fit(module, DataLoader(batches, batch_size=None))
    after = dict(encoder.named_parameters())
    return {name: after[name].detach() - value for name, value in before.items()}, module


def apart(first, second):
    """Distance of two changes of all weights, relative to the length of the second."""
    one, other = (torch.cat([each[name].flatten() for name in second]) for each in (first, second))
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
@pytest.mark.parametrize("head", ["colbert", "cross_encoder", "provence"])
def test_mixed_precision_takes_the_steps_of_float32(bert, tmp_path, head, optimiser, clip, accumulate):
    given = {"optimiser": optimiser, "clip": clip, "accumulate": accumulate, "tmp_path": tmp_path}
    expected, plain = train(bert, head, "32-true", **given)
    for precision, tolerance in (("bf16-mixed", 0.3), ("16-mixed", 0.1)):
        found, module = train(bert, head, precision, **given)
        distance = apart(found, expected)
        assert distance < tolerance, distance
        assert float(module.norm) == pytest.approx(float(plain.norm), rel=0.03)


@pytest.mark.parametrize("head", OBJECTIVES)
def test_ten_float16_steps_of_every_head_are_those_of_float32(request, tmp_path, head):
    folder = request.getfixturevalue("decoder" if head == "yes_no" else "bert")
    expected, plain = train(folder, head, "32-true", batches=10, tmp_path=tmp_path)
    found, module = train(folder, head, "16-mixed", batches=10, tmp_path=tmp_path)
    assert apart(found, expected) < 0.03
    assert module.norms == pytest.approx(plain.norms, rel=0.01)


@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize(("accumulate", "batches"), [(1, 3), (2, 5), (4, 3)])
def test_norms_and_clipped_gradients_have_no_scale_also_in_a_short_last_window(
    bert, tmp_path, accumulate, batches, clip
):
    """Steps this short leave the weights where they are, so that every norm is one of the same model."""
    given = {"lr": 1e-9, "accumulate": accumulate, "batches": batches, "clip": clip, "tmp_path": tmp_path}
    _, plain = train(bert, "colbert", "32-true", **given)
    for scale in (1.0, 2.0**16):
        _, module = train(bert, "colbert", "16-mixed", scale=scale, **given)
        assert len(module.norms) == -(-batches // accumulate)
        assert module.norms == pytest.approx(plain.norms, rel=2e-3)
        moments, expected = (
            [state["exp_avg"] for state in each.trainer.optimizers[0].state.values()] for each in (module, plain)
        )
        found, wanted = (float(torch.cat([moment.flatten() for moment in each]).norm()) for each in (moments, expected))
        assert found == pytest.approx(wanted, rel=2e-3)  # Adam's moments hold the gradients as they were clipped


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
def test_steps_that_overflow_are_skipped_until_the_scale_is_low_enough(bert, tmp_path, optimiser, accumulate):
    scale, given = 2.0**23, {"optimiser": optimiser, "accumulate": accumulate, "tmp_path": tmp_path}
    _, module = train(bert, "colbert", "16-mixed", batches=8 * accumulate, scale=scale, **given)
    skipped = module.moved.index(True)
    assert 0 < skipped < 8
    assert module.moved == [False] * skipped + [True] * (8 - skipped)
    assert [norm < float("inf") for norm in module.norms] == module.moved
    assert module.trainer.precision_plugin.scaler.get_scale() == scale / 2**skipped
    (optimizer,) = module.trainer.optimizers
    assert steps_taken(optimizer) == 8 - skipped
    assert module.trainer.global_step == module.trainer.lr_scheduler_configs[0].scheduler.last_epoch == 8


def test_a_training_whose_steps_are_all_skipped_leaves_its_weights(bert, tmp_path):
    found, module = train(bert, "colbert", "16-mixed", tmp_path=tmp_path, scale=2.0**100)
    assert all(not change.any() for change in found.values())
    assert steps_taken(module.trainer.optimizers[0]) == 0


SCALED = ("experiment=demo_tiny", "evaluation.baselines=[]", "hardware=cpu", "hardware.precision=16-mixed")
SCALED += ("logger=csv", "loader.workers=0", "trainer.log_every_n_steps=1", "optim.schedule=constant")


@pytest.fixture
def restless(monkeypatch):
    """Loss scalers that start too high, and double the scale after two steps that went well."""
    monkeypatch.setattr(trainer, "GradScaler", partial(GradScaler, init_scale=2.0**22, growth_interval=2))


def logged(folder, name):
    """A metric's values by step."""
    rows = csv.reader((folder / "metrics.csv").open())
    return {int(step): float(value) for step, metric, value in rows if metric == f"train/{name}"}


def checkpoint(folder, step):
    return torch.load(folder / "checkpoints" / f"step_{step:08d}.ckpt", weights_only=True)


@pytest.mark.parametrize("optimiser", ["adamw", "adafactor"])
def test_the_numbers_of_a_run_tell_which_steps_were_skipped(home, restless, recwarn, optimiser):
    done = run("train", *SCALED, "trainer.max_steps=8", f"optim.name={optimiser}", home=home)
    assert done.status == 0, done.err
    assert not [each for each in recwarn if "lr_scheduler" in str(each.message)]
    scales, skipped, norms = (logged(done.folder, name) for name in ("loss_scale", "skipped_steps", "grad_norm"))
    assert list(scales) == list(skipped) == list(logged(done.folder, "loss")) == [*range(1, 9)]
    assert 0 < skipped[8] < 8
    lost = [step for step in scales if skipped[step] > skipped.get(step - 1, 0)]
    assert sorted({*range(1, 9)} - norms.keys()) == lost  # a skipped step has no norm
    for step in lost[1:]:
        assert scales[step] == scales[step - 1] / 2
    assert checkpoint(done.folder, 8)["MixedPrecision"]["scale"] == scales[8]


def test_a_resumed_float16_run_ends_with_the_same_bits(home, restless):
    whole = run("train", *SCALED, "trainer.max_steps=8", home=home)
    part = run("train", *SCALED, "trainer.max_steps=5", home=home)
    again = run("train", f"resume={part.folder}", "trainer.max_steps=8", home=home)
    assert (whole.status, part.status, again.status) == (0, 0, 0), again.err
    for name in ("loss", "grad_norm", "loss_scale", "skipped_steps", "lr"):
        assert logged(part.folder, name) == logged(whole.folder, name), name
    found, expected = checkpoint(part.folder, 8), checkpoint(whole.folder, 8)
    for part_of in ("state_dict", "optimizer_states", "lr_schedulers", "MixedPrecision"):
        torch.testing.assert_close(found[part_of], expected[part_of], rtol=0, atol=0)


@pytest.mark.parametrize(("first", "then"), [("16-mixed", "32-true"), ("bf16-mixed", "16-mixed")])
def test_a_run_resumes_in_another_precision(home, first, then):
    part = run("train", *SCALED, f"hardware.precision={first}", "trainer.max_steps=2", home=home)
    again = run("train", f"resume={part.folder}", f"hardware.precision={then}", "trainer.max_steps=4", home=home)
    assert (part.status, again.status) == (0, 0), again.err
    assert list(logged(part.folder, "loss")) == [1, 2, 3, 4]
    scaled = [
        step for precision, steps in ((first, (1, 2)), (then, (3, 4))) if precision == "16-mixed" for step in steps
    ]
    assert list(logged(part.folder, "loss_scale")) == scaled


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
