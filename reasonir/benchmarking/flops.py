"""Model FLOPs utilisation: useful operations of a step, and peak operations of a device.

A matrix weight takes 2 operations per token forward and 4 backward; attention takes 12 per pair of a text's tokens,
layer and hidden dimension, half of that with causal attention. Padding, recomputation, the head and the scores aren't
useful work, so avoiding them raises the utilisation. The peak of a CPU is measured: its rate of multiplying matrices of
the model's size.

Shape letters: N texts, T tokens, H hidden size, I intermediate size.
"""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor

from reasonir.model.shape import Shape
from reasonir.planning.cards import stated

_TERA = 1e12
_TOKENS, _REPEATS = 2048, 15


def useful_operations(shape: Shape, lengths_N: Tensor) -> float:
    """Return the useful operations of a training step on texts of these lengths.

    >>> import torch
    >>> useful_operations(Shape(1, 2, 4, heads=1, key_value_heads=1, head_size=2), torch.tensor([1]))
    216.0
    """
    matrices = 6.0 * shape.layers * shape.layer_parameters * float(lengths_N.sum())
    seen = 0.5 if shape.causal else 1.0
    width = shape.heads * shape.head_size
    return matrices + 12.0 * seen * shape.layers * width * float(lengths_N.double().square().sum())


def peak_operations(device: str, precision: str, stated_tflops: float | None, shape: Shape) -> float | None:
    """Return a device's dense operations per second in a precision; None if unknown.

    Args:
        device: name of the device.
        precision: precision of the hardware profile.
        stated_tflops: the user's value in 10^12, which takes precedence.
        shape: shape of the model, for measuring a CPU.
    """
    if stated_tflops:
        return stated_tflops * _TERA
    if device == "cpu":
        return _matmul_rate(shape)
    card = stated(device)
    if card is None:
        return None
    return card.half_flops if precision.endswith("-mixed") else card.single_flops


def _matmul_rate(shape: Shape) -> float:
    """Measure operations per second of a micro-batch times a layer's larger matrix, in float32 on the CPU."""
    hidden_TH, weight_IH = torch.randn(_TOKENS, shape.hidden), torch.randn(shape.intermediate, shape.hidden)
    out_TI = torch.empty(_TOKENS, shape.intermediate)
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        torch.mm(hidden_TH, weight_IH.T, out=out_TI)
        seconds.append(time.perf_counter() - started)
    return 2.0 * _TOKENS * shape.hidden * shape.intermediate / median(seconds)
