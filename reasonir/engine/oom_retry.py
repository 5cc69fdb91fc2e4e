"""Out of memory inside a step: free what the attempt held, halve the budget, take the same step again.

What a step gives doesn't depend on how it is cut (`engine/step.py`), so a repeated step gives what the first attempt
would have: to float tolerance, since sums are taken in another order, and with dropout on by other masks. The forward
pass is repeated where it failed. The backward pass starts from gradients of zero, those of earlier batches set aside,
so half of a failed one leaves no trace.

With several ranks nothing is repeated: the others would wait for what the failed one doesn't send.
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
_SIGNS = ("out of memory", "can't allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left; CPU and MPS raise plain RuntimeErrors."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def halved(budget: Budget, longest: int) -> Budget:
    """Half the budget.

    Args:
        budget: that was too much.
        longest: tokens of the step's longest text, which can't be cut.

    Raises:
        InputError: less budget wouldn't help.
    """
    if budget.max_saved_tokens == 0 and budget.micro_batch <= longest:
        raise InputError(
            f"out of memory with nothing kept and one text of {longest} tokens at a time: cut texts shorter "
            "(model.head), set model.activation_checkpointing=true, train adapters (model.lora.rank=16), or take a "
            "smaller model"
        )
    micro_batch, kept = max(longest, budget.micro_batch // 2), budget.max_saved_tokens // 2
    return replace(budget, micro_batch=micro_batch, max_saved_tokens=kept if kept >= micro_batch else 0)


class OomRetry:
    """Takes steps until they fit; `budget` is what did.

    Args:
        budget: to begin with.
        changed: told of every smaller budget, with what was reported.
    """

    def __init__(self, budget: Budget, changed: Callable[[Budget, str], None]) -> None:
        self.budget = budget
        self._changed = changed

    def until_it_fits(self, work: Callable[[Budget], T], *, longest: int) -> T:
        """What `work` gives at the first budget that it fits into.

        Raises:
            InputError: none helps (see `halved`).
        """
        while True:
            try:
                return work(self.budget)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).partition("\n")[0]
            # Outside of the handler, whose traceback holds the failed attempt's tensors.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.budget = halved(self.budget, longest)
            self._changed(self.budget, reason)


class GradientStash:
    """Gradients of earlier batches, out of the way of a backward pass that may have to be begun anew."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._held: list[tuple[nn.Parameter, Tensor | None]] = [(each, each.grad) for each in parameters]
        self.clear()

    def clear(self) -> None:
        """Drop what a backward pass gave."""
        for parameter, _ in self._held:
            parameter.grad = None

    def add_back(self) -> None:
        """Add them to what the backward pass gave."""
        for parameter, before in self._held:
            if before is not None:
                parameter.grad = before if parameter.grad is None else before.add_(parameter.grad)
