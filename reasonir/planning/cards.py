"""Rates of cards: what their makers state, and the share of it that training reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from statistics import median

import torch

from reasonir.hardware import Hardware

_TERA, _GIGA = 1e12, 1e9
_ROWS, _WIDTH, _COPIED, _REPEATS = 512, 768, 1 << 24, 5


@dataclass(frozen=True, slots=True)
class Card:
    """Rates of a device.

    Attributes:
        half_flops: operations per second in 16 bits, dense, accumulated in 32.
        single_flops: operations per second in 32 bits.
        bandwidth: bytes per second of its memory.
        launch: seconds between the starts of two kernels.
    """

    half_flops: float
    single_flops: float
    bandwidth: float
    launch: float

    def at(self, arithmetic: float, memory: float) -> Card:
        """Return the card at shares of its rates."""
        return replace(
            self,
            half_flops=self.half_flops * arithmetic,
            single_flops=self.single_flops * arithmetic,
            bandwidth=self.bandwidth * memory,
        )


def _card(half: float, single: float, bandwidth: float) -> Card:
    return Card(half * _TERA, single * _TERA, bandwidth * _GIGA, LAUNCH)


_CPU_LAUNCH = 5e-6
_CPU_SHARES = (0.6, 0.3)
"""Shares of its measured rates that a CPU reached in steps of 17 models in 32 and in 16 bits (docs/performance.md)."""
LAUNCH = 7e-6
"""Seconds that eager PyTorch takes to launch a kernel."""
ARITHMETIC, MEMORY = 0.6, 0.8
"""Shares of a card's stated rates that its kernels reach: an assumption."""
CARDS = {
    "T4": _card(65.0, 8.1, 320),
    "A100": _card(312.0, 19.5, 1555),
    "H100": _card(989.0, 67.0, 3350),
    "H200": _card(989.0, 67.0, 4800),
    "RTX 4090": _card(165.2, 82.6, 1008),
    "RTX 5090": _card(209.5, 104.8, 1792),
}
"""From NVIDIA's data sheets, by a part of the device's name; A100 with 40 GB, H100 and H200 as SXM boards."""


def stated(name: str) -> Card | None:
    """Return the stated rates of a card by a name that contains its own; None if unknown."""
    plain = name.lower().replace(" ", "")
    return next((card for known, card in CARDS.items() if known.lower().replace(" ", "") in plain), None)


def card_of(hardware: Hardware) -> Card | None:
    """Return the rates that training reaches on a profile's device: measured on a CPU; None if unknown."""
    if hardware.accelerator == "cpu":
        return measured_cpu(half=hardware.precision.endswith("-mixed"))
    name = hardware.name
    if hardware.accelerator == "cuda" and torch.cuda.is_available() and not stated(name):
        name = torch.cuda.get_device_name()
    card = stated(name)
    return None if card is None else card.at(ARITHMETIC, MEMORY)


@cache
def measured_cpu(*, half: bool) -> Card:
    """Measure this CPU with the present number of threads: matrix products in 32 or in 16 bits, and copies."""
    dtype = torch.bfloat16 if half else torch.float32
    first, second = torch.randn(_ROWS, _WIDTH).to(dtype), torch.randn(_WIDTH, 4 * _WIDTH).to(dtype)
    flops = 2.0 * _ROWS * _WIDTH * 4 * _WIDTH / _seconds(lambda: first @ second)
    copied = torch.empty(_COPIED, dtype=torch.uint8)
    target = torch.empty_like(copied)
    share = _CPU_SHARES[half]
    return Card(flops, flops, 2.0 * _COPIED / _seconds(lambda: target.copy_(copied)), _CPU_LAUNCH).at(share, share)


def _seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)
