"""Rates of cards: what their makers state, and the share of it that training reaches."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache

import torch

_TERA, _GIGA = 1e12, 1e9


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


def card_of(name: str) -> Card | None:
    """Return the stated rates of a profile, or of a device by torch's name of it; None if unknown."""
    plain = name.lower().replace(" ", "")
    return next((card for known, card in CARDS.items() if known.lower().replace(" ", "") in plain), None)
