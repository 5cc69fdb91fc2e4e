import re
from dataclasses import replace

import pytest
import torch

from reasonir.engine.step import Budget
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.model.maxsim import DEVICE_BLOCK, WINNER_BYTES
from reasonir.model.shape import Shape
from reasonir.planning.memory import Estimate, TextShapes, Training
from reasonir.planning.plan import as_planned, fit_step, planned_lengths
from reasonir.training.optim import STATE_BYTES
from reasonir.utils.memory_meter import GIB

QWEN = Shape(28, 1024, 3072, 16, 595_776_512, "decoder", attention_width=2048)
T4 = Hardware("t4", "cuda", precision="16-mixed", supported_precisions=("32-true", "16-mixed"), memory_gib=15)
PLAIN = replace(T4, precision="32-true")
FULL = Training(QWEN, QWEN.parameters, STATE_BYTES["adamw"], True, 28, False, False, 128, False)
ADAPTED = replace(FULL, trained=5_000_000, adapted=True)
TEXTS = TextShapes(torch.tensor([*range(20, 84), *([100, 200, 300, 400] * 32)]), 64)


def fit(hardware=T4, training=FULL):
    return fit_step(training, hardware, TEXTS, width=512)


def cost(training=FULL, hardware=PLAIN, *, micro_batch=1000, kept=0, texts=TEXTS):
    return Estimate(training, hardware).cost(texts, Budget(micro_batch, kept))


def test_a_step_is_fitted_into_the_memory_there_is():
    tight, wide = fit(), fit(replace(T4, memory_gib=139))
    assert tight.fits
    assert tight.cost.total < 15 * GIB
    assert tight.budget.max_saved_tokens < wide.budget.max_saved_tokens
    assert tight.budget.micro_batch < wide.budget.micro_batch
    assert tight.cost.kept < 0.5 * wide.cost.kept


def test_a_step_that_does_not_fit_is_reported_and_adapters_help():
    small = replace(T4, memory_gib=8)
    assert fit(small).fits is False
    assert fit(small, ADAPTED).fits
    assert fit(replace(T4, memory_gib=None)).fits is None


def test_configured_numbers_of_tokens_are_used():
    fitted = fit(replace(T4, micro_batch_tokens=777, max_saved_tokens=0))
    assert (fitted.budget.micro_batch, fitted.budget.max_saved_tokens) == (777, 0)


@pytest.mark.parametrize(("optimiser", "state"), [("adamw", 8), ("adamw_8bit", 2), ("adafactor", 1)])
def test_resident_memory_is_counted_to_the_byte(optimiser, state):
    memory = cost(replace(FULL, state_bytes=STATE_BYTES[optimiser]))
    assert memory.weights == QWEN.parameters * 4
    assert memory.gradients == QWEN.parameters * 4
    assert memory.optimiser == QWEN.parameters * state
    assert cost(replace(FULL, accumulates=True)).gradients == QWEN.parameters * 8


def test_graphs_are_those_of_the_micro_batches_the_engine_cuts():
    texts = TextShapes(torch.tensor([10, 30, 20, 40]), 2)
    estimate = Estimate(FULL, PLAIN)
    graph = estimate.graph(40)  # fused attention: the same for every width
    memory = cost(texts=texts, micro_batch=80, kept=80)  # [40, 30] fills 80 and is kept, [20, 10] fills 40
    assert memory.kept == pytest.approx(80 * graph)
    assert memory.segment == pytest.approx(40 * graph + 80 * estimate.layer(40))
    everything = cost(texts=texts, micro_batch=80, kept=120)
    assert everything.kept == pytest.approx(120 * graph)
    assert everything.segment == pytest.approx(80 * estimate.layer(40))


def test_representations_and_scores_are_of_all_devices():
    texts = TextShapes(torch.tensor([1000, 3000, *[1000] * 5000]), 2)
    alone, together = cost(texts=texts), cost(hardware=replace(PLAIN, devices=4), texts=texts)
    block = 2 * 4 * DEVICE_BLOCK
    assert alone.scores == 4000 * 5000 * WINNER_BYTES + block + 28 * 2 * 5000
    assert together.scores == 4 * (alone.scores - block) + block
    assert alone.representations == 4 * 4 * 128 * (4000 + 5_000_000)
    assert together.representations == 4 * 4 * 128 * (4000 + 4 * 5_000_000)
    assert together.gradients == 2 * alone.gradients
    single = cost(replace(FULL, single_vector=True, vector_size=1024), texts=texts)
    assert single.scores == 28 * 2 * 5000
    assert single.representations == 4 * 4 * 1024 * 5002


def test_frozen_or_recomputed_layers_keep_no_graph():
    whole = cost().segment
    assert cost(replace(FULL, layers=14)).segment < 0.6 * whole
    assert cost(replace(FULL, recomputed=True)).segment < 0.15 * whole
    assert cost(ADAPTED).segment > whole


def test_the_total_is_that_of_the_fullest_moment():
    memory = cost()
    assert memory.moment == "backward pass"
    parts = memory.weights + memory.gradients + memory.optimiser + memory.kept + memory.segment + memory.representations
    assert memory.total == pytest.approx(parts)
    tiny = TextShapes(torch.tensor([4, 4]), 1)
    for fused in (PLAIN, T4):  # the update is in place
        assert cost(hardware=fused, texts=tiny, micro_batch=4).moment == "backward pass"
    elsewhere = cost(hardware=replace(PLAIN, accelerator="mps"), texts=tiny, micro_batch=4)
    assert elsewhere.moment == "update"
    assert elsewhere.total == QWEN.parameters * (4 + 4 + 8 + 4)  # no kernel there: a copy as scratch


def test_matrices_are_cast_once_where_trained_and_for_every_kept_graph_where_not():
    matrices = 2 * QWEN.layers * QWEN.layer_parameters
    trained = [cost(hardware=T4, kept=kept).weights - 4 * QWEN.parameters for kept in (0, 2000, 10**9)]
    assert trained == [matrices, 2 * matrices, matrices]
    adapted = cost(ADAPTED, T4, kept=2000).weights - 4 * QWEN.parameters
    assert adapted == 3 * matrices  # two graphs of 1,000 tokens, and the one that is recomputed


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="another device is here")
def test_auto_is_the_cpu_where_there_is_nothing_else():
    auto = Hardware("auto").resolve()
    assert (auto.accelerator, auto.precision, auto.devices) == ("cpu", "32-true", 1)
    assert auto.memory_gib > 0
    with pytest.raises(InputError, match="hardware=t4 needs an NVIDIA GPU"):
        T4.resolve()
    assert "Apple silicon" in Hardware("mps", "mps").missing()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16-mixed"}, "t4 doesn't support it; choose one of 32-true, 16-mixed"),
        ({"precision": "fp16"}, "precision=fp16: choose auto"),
        ({"accelerator": "gpu"}, "accelerator=gpu: choose auto, cpu, cuda or mps"),
        ({"devices": 0}, "devices=0: give 1 or more, or -1"),
        ({"micro_batch_tokens": 0}, "micro_batch_tokens=0: give 1 or more, or null"),
    ],
)
def test_contradictions_in_profiles_are_named(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        replace(T4, **options)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"hardware": "cpu", "auto_lengths": {}}'])
def test_a_damaged_plan_is_named(tmp_path, content):
    file = tmp_path / "plan.json"
    for read in (planned_lengths, lambda file: as_planned(T4, file)):
        file.write_text(content)
        with pytest.raises(InputError, match=r"plan\.json.* delete it to plan the run again"):
            read(file)
        file.unlink()
        assert read(file) in ({}, T4)
