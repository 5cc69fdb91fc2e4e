"""Tests that need a CUDA device: the engine's equality there, number formats, memory, resume. Run with -m gpu."""

import csv
import json
import re

import pytest
import torch

from reasonir.cli.configuration import build
from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from reasonir.loss.cached_contrastive import CachedContrastive
from tests.helpers import batch_of, examples, gradients, largest_difference, load
from tests.running import run
from tests.scenarios.test_heads_and_losses import FITS, chosen

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
TINY = ("experiment=demo_tiny", "hardware=auto", "evaluation.baselines=[]")
QWEN = (*TINY, "model=random_qwen_tiny", "model.head.document_length=64")  # has no dropout
REPEATABLE = ("+trainer.deterministic=true", "optim.schedule=constant", "optim.warmup=0")


def losses(folder):
    rows = csv.reader((folder / "metrics.csv").open())
    return [float(value) for _, metric, value in rows if metric == "train/loss"]


def trained(*given, home):
    done = run("train", *given, home=home)
    assert done.status == 0, done.err
    return done


@pytest.mark.parametrize(("head", "loss"), [(head, loss) for head in FITS for loss in sorted(FITS[head])])
def test_a_step_has_the_gradients_of_the_cpu(composed, request, record_property, head, loss):
    checkpoint = request.getfixturevalue("decoder" if head == "yes_no" else "bert")
    objective, found = build(composed("train", *chosen(head, loss)).loss), []
    for device in ("cpu", "cuda"):
        encoder = load(checkpoint, head).to(device)
        batch = batch_of(encoder, examples(6, negatives=2))
        run_step(encoder, objective, batch, Budget(200, 300), Alone())["loss"].backward()
        found.append({name: value.cpu() for name, value in gradients(encoder).items()})
    record_property("difference of a head's gradients from the CPU's, limit 1e-3", largest_difference(*found))
    assert largest_difference(*found) < 1e-3


def test_a_run_has_the_losses_and_metrics_of_the_cpu(home, record_property):
    found = []
    for device in ("cpu", "cuda"):
        done = trained(*QWEN, f"hardware.accelerator={device}", "hardware.precision=32-true", home=home)
        found.append((losses(done.folder), json.loads((done.folder / "results.json").read_text())))
    differences = [abs(gpu / cpu - 1) for gpu, cpu in zip(found[1][0], found[0][0], strict=True)]
    record_property("relative difference of a run's losses from the CPU's, limit 1e-3", max(differences))
    assert max(differences) < 1e-3
    assert found[1][1].keys() == found[0][1].keys()


@pytest.mark.parametrize("head", ["colbert", "biencoder", "gaussian", "splade"])
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_trains_as_float32_does(home, head, precision):
    given = (*TINY, f"model/head={head}", *(["loss=gaussian"] if head == "gaussian" else []))
    plain = trained(*given, "hardware.precision=32-true", home=home)
    mixed = trained(*given, f"hardware.precision={precision}", home=home)
    assert losses(mixed.folder) == pytest.approx(losses(plain.folder), rel=0.1)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_resumed_run_ends_with_the_same_bits(home, precision):
    given = (*TINY, *REPEATABLE, f"hardware.precision={precision}")
    whole = trained(*given, "trainer.max_steps=8", home=home)
    part = trained(*given, "trainer.max_steps=4", home=home)
    if precision == "16-mixed":
        checkpoint = torch.load(next((part.folder / "checkpoints").glob("step_*4.ckpt")), weights_only=True)
        assert checkpoint["MixedPrecision"]["scale"] > 1
    trained(f"resume={part.folder}", "trainer.max_steps=8", home=home)
    assert losses(part.folder) == losses(whole.folder)
    first, second = (
        torch.load(next((each.folder / "checkpoints").glob("step_*8.ckpt")), weights_only=True)["state_dict"]
        for each in (whole, part)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_card_out_of_memory_trains_on_with_smaller_micro_batches(home):
    given = (*QWEN, "model.layers=8", "model.hidden=256", "loader.batch_size=128", "trainer.max_steps=4")
    given = (*given, "hardware.precision=32-true", "hardware.micro_batch_tokens=60000")
    roomy = trained(*given, home=home)
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1.5 * 2**30) / whole)
    try:
        tight = trained(*given, home=home)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory" not in roomy.err
    assert re.search("out of memory", tight.err)
    assert losses(tight.folder) == pytest.approx(losses(roomy.folder), rel=1e-3)


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
