"""Results by hand: medians, ratios, padding, utilisation; and the refusal of peers that disagree."""

from dataclasses import replace

import pytest
import torch

from reasonir.benchmarking.base import FirstStep
from reasonir.benchmarking.flops import peak_operations, useful_operations
from reasonir.benchmarking.report import PeerResult, Step, refuse_disagreement, report
from reasonir.errors import InputError
from reasonir.model.shape import Shape

STEP = Step("w", 10, 100, 6e12, "32-true", "cpu", None)
REASONIR = PeerResult(FirstStep(1.0, 2.0, 125, 125), (1.0, 2.0, 9.0), 0.5)
UNCACHED = PeerResult(FirstStep(1.0, 2.0, 200, 200), (4.0, 4.0, 1.0), 1.0)
CACHED = PeerResult(FirstStep(1.0, 2.0, 200, 400), (8.0, 8.0, 8.0), 0.25)


def test_the_measurements_of_a_peer():
    document = report(STEP, {"reasonir": REASONIR, "uncached": UNCACHED, "cached": CACHED})["workloads"]["w"]
    engine, cached = document["peers"]["reasonir"], document["peers"]["cached"]
    assert (engine["step_s"], engine["step_s_min"], engine["step_s_max"]) == (2.0, 1.0, 9.0)
    assert (engine["texts_per_s"], engine["tokens_per_s"], engine["peak_bytes"]) == (5.0, 50.0, 2**29)
    assert engine["padding"] == pytest.approx(0.2)
    assert (engine["forward_tokens_per_real"], cached["forward_tokens_per_real"]) == (1.25, 4.0)
    assert document["ratios"] == {
        "uncached": {"step_s": 0.5, "peak_bytes": 0.5},
        "cached": {"step_s": 0.25, "peak_bytes": 2.0},
    }
    assert document["over_uncached"] == {
        "reasonir": {"step_s": 0.5, "peak_bytes": 0.5},
        "cached": {"step_s": 2, "peak_bytes": 0.25},
    }
    assert "mfu" not in engine


def test_the_utilisation_of_a_known_device():
    document = report(replace(STEP, peak_operations=12e12), {"reasonir": REASONIR})["workloads"]["w"]
    assert document["peers"]["reasonir"]["mfu"] == pytest.approx(0.25)
    assert "over_uncached" not in document


def test_useful_operations_by_the_definition():
    """Two layers of width 8: weights by hand, and every pair of a text's tokens, forwards twice and backwards twice."""
    shape = Shape(layers=2, hidden=8, intermediate=16, heads=2, key_value_heads=2, head_size=4)
    weights = 2 * (4 * 8 * 8 + 2 * 8 * 16)
    lengths = [3, 5]
    attention = sum(2 * length * length * 8 * 2 for length in lengths)  # queries with keys, weights with values
    expected = 6 * weights * sum(lengths) + 3 * 2 * attention
    assert useful_operations(shape, torch.tensor(lengths)) == expected
    causal = replace(shape, key_value_heads=1, gated=True, causal=True)
    assert useful_operations(causal, torch.tensor([0])) == 0
    assert useful_operations(causal, torch.tensor([4])) == 6 * 2 * (3 * 64 + 3 * 128) * 4 + 3 * 2 * (2 * 16 * 8 * 2) / 2


def test_peaks_are_known_by_name_or_stated():
    shape = Shape(layers=1, hidden=64, intermediate=128, heads=1, key_value_heads=1, head_size=64)
    assert peak_operations("NVIDIA H100 80GB HBM3", "bf16-mixed", None, shape) == 989e12
    assert peak_operations("Tesla T4", "32-true", None, shape) == 8.1e12
    assert peak_operations("mps", "32-true", None, shape) is None
    assert 1e8 < peak_operations("cpu", "32-true", None, shape) < 1e13  # from two cores to a large server
    assert peak_operations("cpu", "32-true", 0.5, shape) == 5e11


@pytest.mark.parametrize(
    "first_step",
    [
        FirstStep(1.1, 2.0, 1, 1),
        FirstStep(1.0, 2.2, 1, 1),
        FirstStep(float("nan"), 2.0, 1, 1),
        FirstStep(1.0, float("nan"), 1, 1),
    ],
)
def test_peers_that_compute_something_else_are_refused(first_step):
    other = replace(REASONIR, first_step=first_step)
    with pytest.raises(InputError, match="reasonir and other don't compute the same"):
        refuse_disagreement({"reasonir": REASONIR, "other": other}, "32-true")


def test_sixteen_bits_have_larger_tolerances():
    other = replace(REASONIR, first_step=FirstStep(1.01, 2.2, 1, 1))
    refuse_disagreement({"reasonir": REASONIR, "other": other}, "bf16-mixed")
    with pytest.raises(InputError, match=r"loss 1 and 1\.01"):
        refuse_disagreement({"reasonir": REASONIR, "other": other}, "32-true")
