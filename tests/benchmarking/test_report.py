"""Figures of a bench by hand: medians, ratios, padding, useful work; and that no time counts without agreement."""

from dataclasses import replace

import pytest
import torch

from reasonir.benchmarking.base import Checked
from reasonir.benchmarking.flops import peak_operations, useful_operations
from reasonir.benchmarking.report import Step, Timed, refuse_disagreement, report
from reasonir.errors import InputError
from reasonir.model.shape import Shape

STEP = Step("w", 10, 100, 6e12, "32-true", "cpu", None)
OURS = Timed(Checked(1.0, 2.0, 125, 125), (1.0, 2.0, 9.0), 0.5)
PLAIN = Timed(Checked(1.0, 2.0, 200, 200), (4.0, 4.0, 1.0), 1.0)
CACHED = Timed(Checked(1.0, 2.0, 200, 400), (8.0, 8.0, 8.0), 0.25)


def test_the_figures_of_a_peer():
    found = report(STEP, {"ours": OURS, "plain": PLAIN, "cached": CACHED})["workloads"]["w"]
    ours, cached = found["peers"]["ours"], found["peers"]["cached"]
    assert (ours["step_s"], ours["step_s_min"], ours["step_s_max"]) == (2.0, 1.0, 9.0)
    assert (ours["texts_per_s"], ours["tokens_per_s"], ours["peak_bytes"]) == (5.0, 50.0, 2**29)
    assert ours["padding"] == pytest.approx(0.2)
    assert (ours["forward_tokens_per_real"], cached["forward_tokens_per_real"]) == (1.25, 4.0)
    assert found["ratios"] == {
        "plain": {"step_s": 0.5, "peak_bytes": 0.5},
        "cached": {"step_s": 0.25, "peak_bytes": 2.0},
    }
    assert found["over_plain"] == {
        "ours": {"step_s": 0.5, "peak_bytes": 0.5},
        "cached": {"step_s": 2, "peak_bytes": 0.25},
    }
    assert "mfu" not in ours


def test_the_useful_share_of_a_device_that_is_known():
    found = report(replace(STEP, peak_operations=12e12), {"ours": OURS})["workloads"]["w"]
    assert found["peers"]["ours"]["mfu"] == pytest.approx(0.25)
    assert "over_plain" not in found


def test_useful_operations_by_the_definition():
    """Two layers of width 8: weights by hand, and every pair of a text's tokens, forwards twice and backwards twice."""
    shape = Shape(layers=2, hidden=8, intermediate=16, heads=2, parameters=0)
    weights = 2 * (4 * 8 * 8 + 2 * 8 * 16)
    lengths = [3, 5]
    attention = sum(2 * length * length * 8 * 2 for length in lengths)  # queries with keys, weights with values
    expected = 6 * weights * sum(lengths) + 3 * 2 * attention
    assert useful_operations(shape, torch.tensor(lengths)) == expected
    causal = replace(shape, kind="decoder")
    assert useful_operations(causal, torch.tensor([0])) == 0
    assert useful_operations(causal, torch.tensor([4])) == 6 * 2 * (3 * 64 + 3 * 128) * 4 + 3 * 2 * (2 * 16 * 8 * 2) / 2


def test_peaks_are_known_by_name_or_stated():
    shape = Shape(layers=1, hidden=64, intermediate=128, heads=1, parameters=0)
    assert peak_operations("NVIDIA H100 80GB HBM3", "bf16-mixed", None, shape) == 989e12
    assert peak_operations("Tesla T4", "32-true", None, shape) == 8.1e12
    assert peak_operations("mps", "32-true", None, shape) is None
    assert 1e8 < peak_operations("cpu", "32-true", None, shape) < 1e13  # what two cores to a large server do
    assert peak_operations("cpu", "32-true", 0.5, shape) == 5e11


@pytest.mark.parametrize(
    "checked",
    [
        Checked(1.1, 2.0, 1, 1),
        Checked(1.0, 2.2, 1, 1),
        Checked(float("nan"), 2.0, 1, 1),
        Checked(1.0, float("nan"), 1, 1),
    ],
)
def test_no_time_counts_where_the_computation_differs(checked):
    other = replace(OURS, checked=checked)
    with pytest.raises(InputError, match="ours and other don't compute the same"):
        refuse_disagreement({"ours": OURS, "other": other}, "32-true")


def test_sixteen_bits_may_differ_a_little_more():
    other = replace(OURS, checked=Checked(1.01, 2.2, 1, 1))
    refuse_disagreement({"ours": OURS, "other": other}, "bf16-mixed")
    with pytest.raises(InputError, match=r"loss 1 and 1\.01"):
        refuse_disagreement({"ours": OURS, "other": other}, "32-true")
