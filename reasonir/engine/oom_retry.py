"""Retry of a step that runs out of memory: free the attempt's tensors, halve the budget, repeat the step.

The result of a step doesn't depend on its micro-batches (`engine/step.py`), so a retry gives the result of the first
attempt: to float tolerance, since sums are taken in another order, and with other dropout masks. The forward pass is
repeated where it failed. The backward pass starts from zero gradients, with those of earlier batches stashed, so half
of a failed one leaves no trace.

With several ranks nothing is retried: the other ranks would wait for collectives that the failed one never joins.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from reasonir.engine.step import Budget
from reasonir.errors import InputError

T = TypeVar("T")
_MESSAGES = ("out of memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means out of memory, on a device or the host; CPU and MPS raise plain RuntimeErrors."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


def halved(budget: Budget, longest: int) -> Budget:
    """Return half the budget.

    Args:
        budget: the budget that didn't fit.
        longest: tokens of the step's longest text, which can't be split.

    Raises:
        InputError: a smaller budget can't help.
    """
    if budget.max_saved_tokens == 0 and budget.micro_batch <= longest:
        raise InputError(
            f"out of memory even with one {longest}-token text per micro-batch and no stored graphs: reduce "
            "model.head.document_length or max_length, set model.activation_checkpointing=true, train adapters "
            "(model.lora.rank=16), or choose a smaller model"
        )
    micro_batch, saved = max(longest, budget.micro_batch // 2), budget.max_saved_tokens // 2
    return replace(budget, micro_batch=micro_batch, max_saved_tokens=saved if saved >= micro_batch else 0)


class OomRetry:
    """Repeats a step with smaller budgets until it fits into memory.

    Args:
        budget: initial budget; the attribute `budget` is the last one that was tried.
        changed: called with each smaller budget and the error message.
    """

    def __init__(self, budget: Budget, changed: Callable[[Budget, str], None]) -> None:
        self.budget = budget
        self._changed = changed

    def until_it_fits(self, work: Callable[[Budget], T], *, longest: int) -> T:
        """Return the result of `work` at the first budget that fits.

        Raises:
            InputError: no budget fits (see `halved`).
        """
        while True:
            try:
                return work(self.budget)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).partition("\n")[0]
            # Outside the handler, whose traceback holds the failed attempt's tensors.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.budget = halved(self.budget, longest)
            self._changed(self.budget, reason)


class GradientStash:
    """Gradients of earlier batches, set aside during a backward pass that may have to be repeated."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._stashed: list[tuple[nn.Parameter, Tensor | None]] = [(p, p.grad) for p in parameters]
        self.clear()

    def clear(self) -> None:
        """Drop the gradients of the current backward pass."""
        for parameter, _ in self._stashed:
            parameter.grad = None

    def add_back(self) -> None:
        """Add the stashed gradients to those of the backward pass."""
        for parameter, before in self._stashed:
            if before is not None:
                parameter.grad = before if parameter.grad is None else before.add_(parameter.grad)
