from dataclasses import replace

import pytest
import torch

from reasonir.errors import InputError
from reasonir.model.shape import Shape
from reasonir.training.hardware import Hardware
from reasonir.training.plan import GIB, Lengths, make_plan

QWEN = Shape(28, 1024, 3072, 16, 595_776_512, "decoder")
T4 = Hardware("t4", "cuda", precision="16-mixed", precisions=("32-true", "16-mixed"), memory_gib=15)


def lengths(limit, *values):
    return Lengths.of(values, limit, estimated=False)


def plan(shape=QWEN, hardware=T4, **options):
    return make_plan(
        shape,
        hardware,
        lengths(128, *range(20, 160)),
        lengths(512, *range(50, 700)),
        **{"trained": shape.parameters, "texts_per_step": (64, 128), **options},
    )


def test_lengths_say_what_a_limit_cuts():
    found = lengths(30, 10, 20, 30, 40)
    assert (found.median, found.longest, found.truncated, found.mean) == (25, 40, 0.25, 22.5)


def test_a_step_is_fitted_into_the_memory_there_is():
    tight, wide = plan(), plan(hardware=replace(T4, memory_gib=139))
    assert tight.fits
    assert tight.total_gib < 15
    assert tight.kept_tokens < wide.kept_tokens < tight.tokens_per_step
    assert tight.micro_batch_tokens < wide.micro_batch_tokens
    assert tight.weights_gib == pytest.approx(QWEN.parameters * 6 / GIB)
    assert tight.optimiser_gib == pytest.approx(QWEN.parameters * 8 / GIB)


def test_what_does_not_fit_is_said_to_and_adapters_help():
    small = replace(T4, memory_gib=8)
    assert not plan(hardware=small).fits
    assert plan(hardware=small, trained=5_000_000).fits


def test_given_numbers_of_tokens_are_taken():
    found = plan(hardware=replace(T4, micro_batch_tokens=777, kept_tokens=0))
    assert (found.budget.micro_batch, found.budget.kept) == (777, 0)
    assert not found.present or torch.cuda.is_available()


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="another device is here")
def test_auto_is_the_cpu_where_there_is_nothing_else():
    found = Hardware("auto").resolve()
    assert (found.accelerator, found.precision, found.devices) == ("cpu", "32-true", 1)
    assert found.memory_gib > 0
    with pytest.raises(InputError, match="hardware=t4 needs an NVIDIA GPU"):
        T4.resolve()
    assert "Apple silicon" in Hardware("mps", "mps").missing()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16-mixed"}, "t4 doesn't compute in that; it has 32-true, 16-mixed"),
        ({"precision": "fp16"}, "hardware.precision=fp16: choose auto"),
        ({"accelerator": "gpu"}, "hardware.accelerator=gpu: choose auto, cpu, cuda or mps"),
        ({"devices": 0}, "hardware.devices=0"),
        ({"micro_batch_tokens": 0}, "hardware.micro_batch_tokens=0"),
    ],
)
def test_profiles_that_contradict_themselves_are_named(options, message):
    assert any(message in problem for problem in replace(T4, **options).problems())


def test_float16_needs_a_gpu():
    assert "needs a GPU" in Hardware("x", "cpu", precision="16-mixed").problems()[0]
