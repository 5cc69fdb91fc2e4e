"""Plans: a step's parts put together against the whole step, traced; and its fit into a profile's memory."""

import re
from dataclasses import replace
from functools import partial

import pytest
import torch

from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from reasonir.errors import InputError
from reasonir.hardware import Hardware, number_format
from reasonir.invented.device import Tracing
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.model.backbone import Model
from reasonir.model.head.biencoder import BiEncoder
from reasonir.model.head.colbert import ColBERT
from reasonir.model.head.cross_encoder import CrossEncoder
from reasonir.model.lora import LoRA
from reasonir.planning.cards import card_of
from reasonir.planning.hollow import hollow_encoder
from reasonir.planning.memory import Estimate
from reasonir.planning.plan import Step, as_planned, fit_step, planned_lengths
from reasonir.planning.trace import TextShapes, _batch, _tokens
from reasonir.training.optim import Optim
from reasonir.utils.devices import INVENTED
from reasonir.utils.memory_meter import GIB

QWEN = {
    "model_type": "qwen3",
    "num_hidden_layers": 6,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 8000,
}
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_attention_heads": 4,
    "vocab_size": 8000,
}
MPNET = BERT | {"model_type": "mpnet"}
MODERN = BERT | {
    "model_type": "modernbert",
    "intermediate_size": 384,
    "pad_token_id": 0,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
T4 = Hardware("t4", "cuda", precision="16-mixed", supported_precisions=("32-true", "16-mixed"), memory_gib=15)
H100 = Hardware("h100", "cuda", precision="bf16-mixed", memory_gib=79, attention="varlen")
CPU = Hardware("cpu", "cpu", precision="32-true", memory_gib=20, attention="varlen")
TEXTS = TextShapes(torch.tensor([*range(20, 84), *([100, 200, 300, 400] * 32)]), 64)

FEW = TextShapes(torch.tensor([*range(20, 52), *range(60, 380, 10)]), 32)


def model_of(config, head=ColBERT, **options):
    return Model("a/b", head=partial(head.load), hub_id="a/b", config=config, **options)


def step_of(config=QWEN, head=ColBERT, *, texts=TEXTS, accumulates=False, **options):
    objective = Bce() if head.reads_pairs else CachedContrastive(0.05)
    return Step(model_of(config, head, **options), objective, Optim(), texts, 2, 512, accumulates)


@pytest.fixture(scope="module")
def traced():
    """A step, and its trace for a T4."""
    step = step_of()
    return step, step.trace(T4)


def whole_step(step, hardware, budget):
    """Most bytes of a whole second step, with its optimiser's update, traced at once."""
    with Tracing(hollow=True) as tracing:
        encoder = hollow_encoder(step.model, tracing)
        if hardware.accelerator != "cpu":
            encoder.to(INVENTED)
        for autocast in (False, True):
            encoder._packs[encoder.device.type, autocast] = encoder.may_pack
        optimizer = step.optim.optimizer(encoder)
        tokens = _tokens(step.texts.lengths_N, encoder.head)
        batch = _batch(tokens, step.texts.queries, step.documents, step.objective, encoder.head)
        loaded = tracing.allocations.total
        for _ in range(2):
            tracing.allocations.reset()
            with number_format(hardware.precision, encoder.device.type):
                loss = run_step(encoder, step.objective, batch, budget, Alone())["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            del loss
        return tracing.allocations.peak - loaded


@pytest.mark.parametrize(
    ("hardware", "config", "head", "options"),
    [
        (T4, QWEN, ColBERT, {}),
        (T4, BERT, BiEncoder, {"attention": "sdpa"}),
        (H100, QWEN, BiEncoder, {}),
        (H100, MODERN, CrossEncoder, {}),
        (H100, QWEN, ColBERT, {"lora": LoRA(rank=8)}),
        (T4, BERT, ColBERT, {"activation_checkpointing": True}),
        (CPU, BERT, ColBERT, {}),
        (CPU, MPNET, BiEncoder, {"freeze_layers": 2}),
    ],
    ids=lambda value: value.name if isinstance(value, Hardware) else getattr(value, "name", None),
)
def test_the_parts_put_together_are_the_whole_step(hardware, config, head, options):
    texts = TextShapes(FEW.lengths_N[32:], 0) if head.reads_pairs else FEW
    step = step_of(config, head, texts=texts, **options)
    trace = step.trace(hardware)
    for budget in (Budget(1600, 0), Budget(1600, 4000), Budget(1 << 20, 1 << 20)):
        cost = Estimate(trace, hardware).cost(texts, budget)
        whole = whole_step(step, hardware, budget)
        within = 0.1 if cost.moment == "scoring" else 0.05  # copies of vectors, which are large beside so small models
        assert cost.total - cost.weights == pytest.approx(whole, rel=within), (budget, cost.moment)


def test_a_step_is_fitted_into_the_memory_there_is(traced):
    step, trace = traced
    tight, wide = (fit_step(trace, replace(T4, memory_gib=memory), step) for memory in (0.5, 139))
    assert tight.fits
    assert tight.cost.total < 0.5 * GIB
    assert tight.budget.max_saved_tokens < wide.budget.max_saved_tokens
    assert tight.budget.micro_batch < wide.budget.micro_batch
    assert tight.cost.kept < 0.5 * wide.cost.kept


def test_a_step_that_does_not_fit_is_reported_and_adapters_help(traced):
    step, trace = traced
    small = replace(T4, memory_gib=0.1)
    assert fit_step(trace, small, step).fits is False
    adapted = step_of(lora=LoRA(rank=4))
    assert fit_step(adapted.trace(T4), small, adapted).cost.total < fit_step(trace, small, step).cost.total
    assert fit_step(trace, replace(T4, memory_gib=None), step).fits is None


def test_configured_numbers_of_tokens_are_used(traced):
    step, trace = traced
    fitted = fit_step(trace, replace(T4, micro_batch_tokens=777, max_saved_tokens=0), step)
    assert (fitted.budget.micro_batch, fitted.budget.max_saved_tokens) == (777, 0)


@pytest.mark.parametrize(("name", "state"), [("adamw", 8), ("adafactor", 0.03)])
def test_resident_memory_is_counted(name, state):
    step = replace(step_of(), optim=Optim(name))
    trace = step.trace(T4)
    assert trace.weights == pytest.approx(4 * trace.parameters, rel=0.01)
    assert trace.gradients == 4 * trace.trained
    assert trace.trained == trace.parameters
    assert trace.optimiser == pytest.approx(state * trace.trained, rel=0.1)
    plain, twice = (Estimate(trace, T4, accumulates=each).cost(TEXTS, Budget(512)) for each in (False, True))
    assert twice.gradients == 2 * plain.gradients
    assert twice.total > plain.total


def test_several_devices_share_weights_or_exchange_gradients(traced):
    _, trace = traced
    alone, together = (Estimate(trace, replace(T4, devices=each)).cost(TEXTS, Budget(512)) for each in (1, 4))
    assert together.gradients == 2 * alone.gradients


def test_time_grows_with_recomputation_and_falls_with_the_card(traced):
    step, trace = traced
    estimate = Estimate(trace, T4)
    recomputed, kept = (estimate.seconds(TEXTS, Budget(4096, saved), card_of(T4)) for saved in (0, 1 << 20))
    assert 1.2 * kept < recomputed < 1.5 * kept
    assert estimate.seconds(TEXTS, Budget(4096), card_of(H100)) < recomputed
    assert card_of(replace(T4, name="unheard", accelerator="mps")) is None
    assert fit_step(trace, T4, step).seconds == pytest.approx(kept, rel=0.5)


def test_operations_are_those_of_the_matrices(traced):
    _, trace = traced
    first = trace.micro_batches[0]
    layer = 256 * (2 * 256 + 2 * 128 + 3 * 768)
    matrices = 2 * first.tokens * (6 * layer + 256 * 128)
    attention = 0.5 * 4 * 6 * 256 * first.squares
    assert first.forward_work.flops == pytest.approx(matrices + attention, rel=0.02)
    assert first.backward_work.flops == pytest.approx(2 * matrices + 2.5 * attention, rel=0.03)


def test_a_model_that_cannot_be_traced_is_planned_as_one_of_its_size(caplog):
    trace = step_of(BERT | {"model_type": "xmod"}, BiEncoder).trace(T4)
    assert "a/b can't be traced (Input language unknown" in caplog.text
    assert "the plan is that of a bert of its size" in caplog.text
    assert trace.micro_batches[0].graph == step_of(BERT, BiEncoder).trace(T4).micro_batches[0].graph


def test_a_loss_that_cannot_be_traced_is_left_out(caplog):
    class Reads:
        accepts, teachers, needs = frozenset({"retriever"}), frozenset(), frozenset()

        def __call__(self, outputs):
            return {"loss": outputs.scores_QN.sum() / (1 // int(outputs.scores_QN.max()))}

    trace = replace(step_of(BERT), objective=Reads()).trace(T4)
    assert "The plan leaves out scores and loss: they can't be traced (integer division" in caplog.text
    assert trace.scoring.forward == 0
    assert trace.micro_batches[0].graph > 0


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
