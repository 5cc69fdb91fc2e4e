"""Gradient clipping for every optimiser, precision and strategy, and the gradients' norm with it.

Lightning's own clipping refuses a fused optimiser under any mixed precision, since a fused optimiser may unscale
gradients by itself. Here a loss scale is always divided out before gradients are clipped, which torch allows for fused
optimisers as well (torch.amp.GradScaler: `unscale_`, clip, `step`). Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer


def unscale(scaler: Any, optimizer: Optimizer) -> None:
    """Divide the loss scale out of the gradients, where there is one and Lightning has left that to the optimiser."""
    if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
        scaler.unscale_(optimizer)


def clip(model: nn.Module | None, parameters: Iterable[nn.Parameter], limit: float | None, by: str | None) -> Tensor:
    """Clip unscaled gradients in place.

    Args:
        model: as the strategy trains it; FSDP's norm is that of the gradients of all ranks.
        parameters: whose gradients are clipped.
        limit: the largest norm, or value; None or 0 leaves gradients as they are.
        by: "value", otherwise the norm (Lightning's `gradient_clip_algorithm`).

    Returns:
        The L2 norm of all gradients before they were clipped, on their device.
    """
    norm_limit = limit if limit and by != "value" else torch.inf
    given = [parameter for parameter in parameters if parameter.grad is not None]
    if isinstance(model, FullyShardedDataParallel):
        norm = model.clip_grad_norm_(norm_limit)
    else:
        norm = get_total_norm([parameter.grad for parameter in given if parameter.grad is not None])
        if norm_limit < torch.inf:
            clip_grads_with_norm_(given, norm_limit, norm)
    if limit and by == "value":
        clip_grad_value_(given, limit)
    return norm
