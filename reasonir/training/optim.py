"""Optimisers and learning-rate schedules by name, with weight decay for matrices only."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from reasonir.errors import InputError
from reasonir.model.encoder import Encoder
from reasonir.utils.devices import kind_of
from reasonir.utils.ranges import Fraction, LearningRate, NonNegativeFloat, ShareOrCount, Validated

FUSED = ("cpu", "cuda")
"""Device types with a fused AdamW kernel."""


@dataclass(frozen=True, slots=True)
class Optim(Validated):
    """Optimiser and schedule.

    Attributes:
        name: adamw, adamw_8bit (bitsandbytes, on CUDA) or adafactor.
        lr: peak learning rate of the backbone.
        head_lr: peak learning rate of the head's own parameters; None for `lr`.
        weight_decay: of matrices; biases and norms have none.
        betas: decay rates of Adam's moments.
        schedule: linear or cosine decay to zero, or constant, after the warm-up.
        warmup: warm-up steps; below 1 a share of all steps.
    """

    name: Literal["adamw", "adamw_8bit", "adafactor"] = "adamw"
    lr: LearningRate = 2e-5
    head_lr: LearningRate | None = None
    weight_decay: NonNegativeFloat = 0.01
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: ShareOrCount = 0.1

    def problems(self) -> Iterable[str]:
        """Yield an optimiser that isn't installed, and a decay that turns weights around."""
        if self.name == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
            yield "name=adamw_8bit needs bitsandbytes: pip install bitsandbytes, or use adamw"
        if max(self.lr, self.head_lr or 0) * self.weight_decay >= 1:
            yield f"weight_decay={self.weight_decay}: a step subtracts lr times it from a weight: give less than 1 / lr"

    def optimizer(self, encoder: Encoder) -> Optimizer:
        """Build the optimiser of the encoder's trainable parameters.

        Args:
            encoder: on its training device.

        Raises:
            InputError: no parameter is trainable.
        """
        backbone = dict.fromkeys(encoder.backbone.parameters())
        head = [parameter for parameter in encoder.get_submodule("head").parameters() if parameter not in backbone]
        groups = [*self._groups(backbone, self.lr), *self._groups(head, self.head_lr or self.lr)]
        if not groups:
            raise InputError("nothing is left to train: lower model.freeze_layers or set model.lora")
        return _make(self.name, groups, self.lr, tuple(self.betas), fused=kind_of(encoder.device) in FUSED)

    def scheduler(self, optimizer: Optimizer, steps: int) -> LambdaLR:
        """Build the schedule of `steps` optimiser steps in all."""
        return LambdaLR(optimizer, _factor(self.schedule, self.warmup_steps(steps), steps))

    def warmup_steps(self, steps: int) -> int:
        """Return the number of warm-up steps."""
        return math.ceil(self.warmup * steps) if self.warmup < 1 else int(self.warmup)

    def _groups(self, parameters: Iterable[nn.Parameter], lr: float) -> Iterable[dict[str, Any]]:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for decay, members in (
            (self.weight_decay, [parameter for parameter in trained if parameter.ndim >= 2]),
            (0.0, [parameter for parameter in trained if parameter.ndim < 2]),
        ):
            if members:
                yield {"params": members, "lr": lr, "weight_decay": decay}


def steps_taken(optimizer: Optimizer) -> int:
    """Return the number of steps that changed weights; a loss scaler skips those whose gradients overflow."""
    return max((int(state["step"]) for state in optimizer.state.values()), default=0)


def _make(name: str, groups: list[dict[str, Any]], lr: float, betas: tuple[float, ...], *, fused: bool) -> Optimizer:
    if name == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(groups, lr=lr, scale_parameter=False, relative_step=False)  # type: ignore[no-any-return]
    if name == "adamw_8bit":
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(groups, lr=lr, betas=betas)  # type: ignore[no-any-return]
    return torch.optim.AdamW(groups, lr=lr, betas=(betas[0], betas[1]), fused=fused)


def _factor(schedule: str, warmup: int, steps: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if schedule == "constant":
            return 1.0
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    return factor
