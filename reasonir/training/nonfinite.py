"""Detection of the first NaN or infinity in training, before anything is evaluated, saved or exported.

A batch's loss terms and a step's gradient norm are copied to the host without waiting for the device and checked when
they have arrived: at once on a CPU, a step or two later on CUDA. `first(wait=True)` waits for them; it is called when
training waits for the device anyway. Under loss scaling the scaler skips a step whose gradients overflow and lowers
the scale, so that only many skipped steps in a row are a finding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reasonir.utils.devices import kind_of

GRADIENT_NORM = "gradient norm"
MAX_SKIPPED = 25
"""Limit of steps skipped in a row under loss scaling. The scale halves each time, from 2^16 to below 1 by then."""
_SHOWN = 3
_REMEDIES = (
    "Usual remedies: a lower optim.lr, hardware.precision=32-true instead of a float16 or bfloat16 format, a larger "
    "loss.temperature, trainer.gradient_clip_val=1.0; trainer.detect_anomaly=true names the operation"
)


class Finding(NamedTuple):
    """A number that is not finite: its optimiser step, its batch of the run, and a description."""

    step: int
    batch: int
    reason: str

    def message(self, queries: Sequence[str]) -> str:
        """Return the reason for stopping, with some of the batch's queries and the usual remedies."""
        names = ", ".join(repr(query if len(query) <= 80 else f"{query[:77]}...") for query in queries[:_SHOWN])
        more = f" and {len(queries) - _SHOWN} more" if len(queries) > _SHOWN else ""
        batch = f"; batch {self.batch} has the queries {names}{more}" if names else ""
        return f"training stopped at step {self.step}: {self.reason}{batch}. Nothing of it was saved. {_REMEDIES}"


class _Copied(NamedTuple):
    step: int
    batch: int
    names: tuple[str, ...]
    values: Tensor
    arrived: Any
    """The CUDA event after the copy; None if the copy is complete."""


class NonFiniteGuard:
    """Watches the numbers of a training for the first one that is not finite.

    Args:
        scaled: True if a loss scaler skips steps whose gradients overflow.
    """

    def __init__(self, *, scaled: bool = False) -> None:
        self.scaled = scaled
        self._pending: deque[_Copied] = deque()
        self._skipped = 0

    def watch(self, step: int, batch: int, values: Mapping[str, Tensor]) -> None:
        """Copy scalars of a batch to the host, on CUDA without waiting for them."""
        stacked = torch.stack([value.detach().float().reshape(()) for value in values.values()])
        waits = kind_of(stacked.device) == "cuda"
        copied = stacked.to("cpu", non_blocking=waits)
        arrived = torch.get_device_module(stacked.device).current_stream().record_event() if waits else None
        self._pending.append(_Copied(step, batch, tuple(values), copied, arrived))

    def first(self, *, wait: bool) -> Finding | None:
        """Return the first finding among the numbers that have arrived, or with `wait` among all of them."""
        while self._pending:
            copied = self._pending[0]
            if copied.arrived is not None:
                if not wait and not copied.arrived.query():
                    return None
                copied.arrived.synchronize()
            self._pending.popleft()
            if finding := self._check(copied):
                return finding
        return None

    def _check(self, copied: _Copied) -> Finding | None:
        finite = copied.values.isfinite().tolist()
        if self.scaled and copied.names == (GRADIENT_NORM,):
            self._skipped = 0 if finite[0] else self._skipped + 1
            if self._skipped < MAX_SKIPPED:
                return None
            reason = f"{self._skipped} optimiser steps in a row were skipped, since their float16 gradients overflow"
            return Finding(copied.step, copied.batch, reason)
        bad = {
            name: value
            for name, value, good in zip(copied.names, copied.values.tolist(), finite, strict=True)
            if not good
        }
        if not bad:
            return None
        name = min(bad, key=lambda name: name == "loss")  # the loss follows from the others
        return Finding(copied.step, copied.batch, f"the {name} is {bad[name]}")


@torch.no_grad()
def nonfinite_weights(module: nn.Module) -> str | None:
    """Describe the weights of a module that are not finite, None if all are; waits for the device once."""
    named = dict(module.named_parameters())
    finite = torch.stack([parameter.isfinite().all() for parameter in named.values()]).tolist()
    names = [name for name, good in zip(named, finite, strict=True) if not good]
    return f"{len(names)} of {len(named)} weight tensors are not finite ({names[0]} first)" if names else None
