"""Gradient clipping and gradient norm for every optimiser, precision and strategy.

Lightning refuses to clip with a fused optimiser under mixed precision, since such an optimiser may unscale gradients
itself. Here the loss scale is always divided out before clipping, which torch allows for fused optimisers as well
(torch.amp.GradScaler: `unscale_`, clip, `step`). Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer


def loss_scaler(trainer: Trainer) -> GradScaler | None:
    """Return the loss scaler of a float16 training; None in other precisions."""
    return getattr(trainer.precision_plugin, "scaler", None)


def unscale(scaler: GradScaler | None, optimizer: Optimizer) -> None:
    """Divide the loss scale out of the gradients, if there is one and Lightning has left that to the optimiser."""
    if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
        scaler.unscale_(optimizer)


def clip(model: nn.Module | None, parameters: Iterable[nn.Parameter], limit: float | None, by: str | None) -> Tensor:
    """Clip unscaled gradients in place.

    Args:
        model: as the strategy trains it; under FSDP the norm is over the gradients of all ranks.
        parameters: whose gradients are clipped.
        limit: the largest norm or value; None or 0 doesn't clip.
        by: "value", otherwise by norm (Lightning's `gradient_clip_algorithm`).

    Returns:
        The L2 norm of all gradients before clipping, a scalar on their device.
    """
    norm_limit = limit if limit and by != "value" else torch.inf
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    if isinstance(model, FullyShardedDataParallel):
        norm = model.clip_grad_norm_(norm_limit)
    else:
        norm = get_total_norm([parameter.grad for parameter in trained if parameter.grad is not None])
        if norm_limit < torch.inf:
            clip_grads_with_norm_(trained, norm_limit, norm)
    if limit and by == "value":
        clip_grad_value_(trained, limit)
    return norm
