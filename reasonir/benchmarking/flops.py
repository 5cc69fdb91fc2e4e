"""Useful work of a step: what real tokens alone cost, forwards and backwards, and how fast a device could do it.

A matrix's weight takes 2 operations a token forwards and 4 backwards; attention takes 12 a pair of a text's tokens and
hidden number of a layer, half of that where no token sees what comes after it. Padding, recomputation, the head and the
scores are no useful work, so whoever avoids them has the higher share. What a CPU could do is measured: the rate at
which it multiplies matrices of the model's own size.
"""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import Tensor

from reasonir.model.shape import Shape

_TERA = 1e12
_TOKENS, _REPEATS = 2048, 15
_DENSE: dict[str, tuple[float, float]] = {
    "T4": (65.0, 8.1),
    "A100": (312.0, 19.5),
    "H100": (989.0, 67.0),
    "H200": (989.0, 67.0),
    "RTX 4090": (165.2, 82.6),
    "RTX 5090": (209.5, 104.8),
}
"""Dense operations a second of the devices of the hardware profiles, in 10^12: 16 bits accumulated in 32, and 32 bits.

By NVIDIA's data sheets; of the H100 and the H200 those of the SXM boards.
"""


def useful_operations(shape: Shape, lengths_N: Tensor) -> float:
    """Of a training step on texts of these lengths.

    >>> import torch
    >>> useful_operations(Shape(layers=1, hidden=2, intermediate=0, heads=1, parameters=0), torch.tensor([1]))
    120.0
    """
    matrices = 6.0 * shape.layers * shape.layer_parameters * float(lengths_N.sum())
    seen = 0.5 if shape.kind == "decoder" else 1.0
    width = shape.attention_width or shape.hidden
    return matrices + 12.0 * seen * shape.layers * width * float(lengths_N.double().square().sum())


def peak_operations(device: str, precision: str, stated_tflops: float | None, shape: Shape) -> float | None:
    """A device's dense operations a second in a precision; None where nobody knows them.

    Args:
        device: its name.
        precision: that of the hardware profile.
        stated_tflops: what the user says it has, in 10^12.
        shape: of the model, whose matrices a CPU multiplies.
    """
    if stated_tflops:
        return stated_tflops * _TERA
    if device == "cpu":
        return _matmul_rate(shape)
    for name, (half, single) in _DENSE.items():
        if name in device:
            return (half if precision.endswith("-mixed") else single) * _TERA
    return None


def _matmul_rate(shape: Shape) -> float:
    """Operations a second of a micro-batch times the larger matrix of a layer, in float32 on the CPU."""
    hidden_TH, weight_IH = torch.randn(_TOKENS, shape.hidden), torch.randn(shape.intermediate, shape.hidden)
    out_TI = torch.empty(_TOKENS, shape.intermediate)
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        torch.mm(hidden_TH, weight_IH.T, out=out_TI)
        seconds.append(time.perf_counter() - started)
    return 2.0 * _TOKENS * shape.hidden * shape.intermediate / median(seconds)
