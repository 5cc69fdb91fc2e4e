"""Work of a part of a step, operation by operation, and the time that a card takes for it.

An operation takes the longest of three times (a roofline): its arithmetic at the card's rate, its bytes at the card's
bandwidth, and the launch of a kernel. `Card` holds the rates; `cards.py` those of the profiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from reasonir.planning.cards import Card

_ATEN: Any = torch.ops.aten
_PRODUCTS: dict[Any, int] = {_ATEN.mm: 0, _ATEN.bmm: 0, _ATEN.addmm: 1, _ATEN.baddbmm: 1}
"""Matrix products, by the position of their first factor."""


@dataclass(frozen=True, slots=True)
class Work:
    """Operations of a part of a step.

    Attributes:
        flops_O: floating-point operations of matrix products and attention, of each operation.
        bytes_O: bytes read and written.
        half_O: whether the arithmetic is in 16 bits.
    """

    flops_O: np.ndarray
    bytes_O: np.ndarray
    half_O: np.ndarray

    def seconds(self, card: Card) -> float:
        """Return the time that a card takes."""
        rate_O = np.where(self.half_O, card.half_flops, card.single_flops)
        return float(np.maximum(np.maximum(self.flops_O / rate_O, self.bytes_O / card.bandwidth), card.launch).sum())

    @property
    def flops(self) -> float:
        """Floating-point operations of all matrix products and attention."""
        return float(self.flops_O.sum())


class Recorder:
    """Records the operations of a trace (`Tracing.on_operation`)."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, bool]] = []

    def __call__(self, operation: Any, args: Any, out: Any) -> None:
        """Record an operation; views take no time."""
        if operation.is_view:
            return
        tensors = [leaf for leaf in tree_leaves((args, out)) if isinstance(leaf, Tensor)]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        half = any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in tensors)
        self._rows.append((float(_flops(operation, args)), float(size), half))

    def taken(self) -> Work:
        """Return the operations since the last call."""
        rows, self._rows = self._rows, []
        flops, sizes, half = zip(*rows, strict=True) if rows else ((), (), ())
        return Work(np.array(flops, dtype=float), np.array(sizes, dtype=float), np.array(half, dtype=bool))


def _flops(operation: Any, args: Any) -> Any:
    packet = operation.overloadpacket
    if packet in _PRODUCTS:
        first, second = args[_PRODUCTS[packet]], args[_PRODUCTS[packet] + 1]
        return 2.0 * prod(first.shape) * second.shape[-1]
    name = packet.__name__
    if "scaled_dot_product" in name and "attention" in name:
        backward = "backward" in name
        query, key = args[1:3] if backward else args[:2]
        return (10.0 if backward else 4.0) * prod(query.shape) * key.shape[-2] * _seen(args)
    if "varlen_attn" in name:
        backward = "backward" in name
        query, longest = (args[1], args[8]) if backward else (args[0], args[5])
        return (10.0 if backward else 4.0) * prod(query.shape) * longest * _seen(args)
    return 0.0


def _seen(args: Any) -> float:
    """Return the share of positions that attention computes: half of them if it is causal."""
    return 0.5 if any(argument is True for argument in args) else 1.0
