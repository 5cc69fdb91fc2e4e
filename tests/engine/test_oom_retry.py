"""Steps that run out of memory anywhere give, after a retry, the weights of a training that never did."""

import json
import random

import pytest
import torch

from reasonir.engine.oom_retry import GradientStash, halved, is_out_of_memory
from reasonir.engine.step import Budget
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.model.encoder import Encoder
from reasonir.training.module import RetrieverModule
from reasonir.training.optim import Optim
from reasonir.training.trainer import precision_plugin
from tests.helpers import batch_of, examples, fit, is_traced, load
from tests.running import run

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 20.00 MiB"


def train(folder, *, budget, failing=(), accumulate=1, clip=1.0, precision="32-true", scale=2.0**16):
    """Return (weights, budgets reported, passes) of four batches; the encoder passes in `failing` (counted from 0)
    fail.
    """
    encoder = load(folder, "colbert", query_length=24, document_length=48)
    encoder.backbone.config.attention_probs_dropout_prob = 0.0
    passes, reported = [0], []
    forward = encoder.forward

    def failing_forward(padded):
        passes[0] += 1
        if passes[0] - 1 in failing:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return forward(padded)

    encoder.forward = failing_forward
    module = RetrieverModule(
        encoder,
        CachedContrastive(0.5),
        Optim(lr=1e-3, warmup=0),
        budget,
        steps=4,
        seed=1,
        on_smaller_budget=lambda *change: reported.append(change),
    )
    batches = [batch_of(encoder, examples(6 + number), step=number) for number in range(4)]
    plugin = precision_plugin(Hardware("cpu", "cpu", precision=precision))
    if plugin is not None:
        plugin.scaler._init_scale = scale
    plugins = [plugin] if plugin else []
    fit(module, batches, max_epochs=1, accumulate_grad_batches=accumulate, gradient_clip_val=clip, plugins=plugins)
    return {name: value.detach().clone() for name, value in encoder.named_parameters()}, reported, passes[0]


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kept", [0, 300, 10**9])
def test_weights_are_those_of_a_training_with_memory(bert, kept, accumulate, precision):
    given = {"budget": Budget(150, kept), "accumulate": accumulate, "precision": precision}
    expected, reported, passes = train(bert, **given)
    assert reported == []
    again, _, _ = train(bert, **given)
    assert all(torch.equal(expected[name], again[name]) for name in expected)
    for seed in range(3):
        failing = set(random.Random(seed).sample(range(passes), 2))
        weights, reported, _ = train(bert, failing=failing, **given)
        assert len(reported) == 2
        assert all(reason == OUT_OF_MEMORY for _, reason in reported)
        for name in expected:  # sums of other micro-batches: equal up to rounding, which Adam magnifies
            difference = (weights[name] - expected[name]).abs()
            within = difference.max() < 5e-5 if precision == "32-true" else difference.mean() < 1e-4
            assert within, (name, difference.mean(), difference.max())


@pytest.mark.parametrize(
    ("precision", "scale"), [("32-true", 1.0), ("16-mixed", 2.0**16), ("16-mixed", 2.0**20)], ids=str
)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kept", [0, 10**9])
def test_a_repeated_step_with_the_same_cut_is_equal_bit_for_bit(bert, precision, scale, accumulate, kept):
    """Halving changes nothing but the attempt if everything still fits into one micro-batch; with nothing kept the
    backward pass recomputes, and fails there. With the larger scale the first steps, repeated ones, are skipped.
    """
    given = {"budget": Budget(10**9, kept), "precision": precision, "scale": scale, "accumulate": accumulate}
    expected, _, passes = train(bert, **given)
    assert passes == (4 if kept else 8)
    weights, reported, _ = train(bert, failing={1, 3}, **given)
    assert [smaller.micro_batch for smaller, _ in reported] == [5 * 10**8, 25 * 10**7]
    assert all(torch.equal(expected[name], weights[name]) for name in expected)


def test_other_errors_are_not_swallowed(bert):
    with pytest.raises(RuntimeError, match="shapes"):
        train_raising(bert, RuntimeError("shapes cannot be multiplied"))


def train_raising(folder, error):
    encoder = load(folder, "colbert")
    module = RetrieverModule(encoder, CachedContrastive(0.5), Optim(), Budget(150), steps=1, seed=1)

    def work(budget):
        raise error

    module.oom_retry.until_it_fits(work, longest=10)


def test_a_single_text_that_does_not_fit_is_an_error(bert):
    with pytest.raises(InputError, match=r"one 10-token text per micro-batch .*.*activation_checkpointing"):
        train_raising(bert, torch.OutOfMemoryError(OUT_OF_MEMORY))


@pytest.mark.parametrize(
    ("before", "after"), [((400, 1000), (200, 500)), ((400, 300), (200, 0)), ((400, 0), (200, 0)), ((60, 90), (50, 0))]
)
def test_budgets_are_halved_down_to_the_longest_text(before, after):
    budget = halved(Budget(*before), 50)
    assert (budget.micro_batch, budget.max_saved_tokens) == after


def test_out_of_memory_errors_of_all_devices_are_recognised():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    assert is_out_of_memory(
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
    )
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_gradients_set_aside_are_added_back():
    first, second, third = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    first.grad, third.grad = torch.ones(2), torch.ones(2)
    stash = GradientStash([first, second, third])
    first.grad = torch.full((2,), 7.0)  # of an attempt that failed
    stash.clear()
    first.grad, second.grad = torch.full((2,), 2.0), torch.full((2,), 3.0)
    stash.add_back()
    assert [parameter.grad.tolist() for parameter in (first, second, third)] == [[3.0, 3.0], [3.0, 3.0], [1.0, 1.0]]


def test_a_run_continues_with_less_and_the_next_one_begins_there(tmp_path, monkeypatch):
    forward, left = Encoder.forward, [3]

    def failing(encoder, padded):
        if torch.is_grad_enabled() and left[0] and not is_traced(encoder):
            left[0] -= 1
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return forward(encoder, padded)

    overrides = ("experiment=demo_tiny", "evaluation.baselines=[]", "trainer.max_steps=2", "hardware=cpu")
    overrides += ("hardware.memory_gib=4",)  # what is free changes from run to run
    first = run("train", *overrides, home=tmp_path)
    planned = json.loads((first.folder / "plan.json").read_text())
    assert planned["micro_batch_tokens"] == 2048
    monkeypatch.setattr(Encoder, "forward", failing)
    done = run("train", *overrides, home=tmp_path)
    assert done.status == 0, done.err
    assert "Out of memory (CUDA out of memory. Tried to allocate 20.00 MiB): repeating the step" in done.err
    plan = json.loads((done.folder / "plan.json").read_text())
    assert plan["micro_batch_tokens"] == 2048 // 8
    assert plan["max_saved_tokens"] == planned["max_saved_tokens"] // 8
    (cached, _) = json.loads((tmp_path / "cache" / "budgets.json").read_text()).values()  # and a checksum
    assert cached == {"micro_batch": plan["micro_batch_tokens"], "kept": plan["max_saved_tokens"]}
    third = run("train", *overrides, home=tmp_path)
    assert "A larger budget ran out of memory before" in third.err
    assert json.loads((third.folder / "plan.json").read_text())["micro_batch_tokens"] == 2048 // 8
    other = run("train", *overrides, "loader.batch_size=5", home=tmp_path)
    assert json.loads((other.folder / "plan.json").read_text())["micro_batch_tokens"] == 2048


def test_a_budget_that_did_not_fit_either_is_not_remembered(tmp_path, monkeypatch):
    def failing(encoder, padded):
        if torch.is_grad_enabled() and not is_traced(encoder):
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return forward(encoder, padded)

    forward = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", failing)
    overrides = ("experiment=demo_tiny", "evaluation.baselines=[]", "trainer.max_steps=2", "hardware=cpu")
    done = run("train", *overrides, home=tmp_path)
    assert done.status == 2, done.err
    assert "out of memory even with one" in done.err
    assert not (tmp_path / "cache" / "budgets.json").exists()
