"""Operations whose result's size depends on values: on hollow tensors the largest possible."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ATEN: Any = torch.ops.aten
DEPENDENT = {
    _ATEN.nonzero,
    _ATEN.masked_select,
    _ATEN._unique2,
    _ATEN.unique_consecutive,
    _ATEN.unique_dim,
    _ATEN.bincount,
}
"""Operations that a GPU's host waits for."""


def _nonzero(tensor: Tensor) -> Tensor:
    return tensor.new_empty((tensor.numel(), tensor.dim()), dtype=torch.int64)


def _distinct(tensor: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    index = tensor.new_empty(tensor.shape, dtype=torch.int64)
    return tensor.new_empty(tensor.numel()), index, index.new_empty(tensor.numel())


def _as_numbers(indices: list[Tensor | None]) -> list[Tensor | None]:
    """Return indices with every mask replaced by the positions of all its elements."""
    numbers: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            numbers.append(index)
        else:
            numbers.extend(_nonzero(index).unbind(1))
    return numbers


LARGEST: dict[Any, Any] = {
    _ATEN.nonzero.default: _nonzero,
    _ATEN.masked_select.default: lambda tensor, mask: tensor.new_empty(tensor.numel()),
    _ATEN._unique2.default: _distinct,
    _ATEN.unique_consecutive.default: _distinct,
    _ATEN.bincount.default: lambda tensor, weights=None, least=0: tensor.new_empty(max(least, tensor.numel())),
    _ATEN.index.Tensor: lambda tensor, indices: _ATEN.index.Tensor(tensor, _as_numbers(indices)),
}
"""Replacements on meta tensors, by operation."""
