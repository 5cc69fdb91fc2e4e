"""Checkpointed segments: recompute a forward pass in the backward pass, with the same random numbers.

Non-reentrant activation checkpointing gives the same memory and time as GradCache (arXiv:2101.06983) with a single
ordinary backward pass. torch 2.11 replays the random state of the CPU and of CUDA but not of MPS, so the state is
stored here, for each device type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def replayed(function: Callable[..., Tensor], *args: Any) -> Tensor:
    """Return `function(*args)`; its activations are dropped and recomputed in the backward pass."""
    return checkpoint(function, *args, **REPLAY)  # type: ignore[no-any-return]


def _record_and_replay() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return two contexts: for the first forward pass, and for its recomputation with the same random numbers."""
    recorded: list[tuple[Callable[[Tensor], None], Tensor]] = []

    @contextmanager
    def record() -> Iterator[None]:
        recorded.extend(_random_states())
        yield

    @contextmanager
    def replay() -> Iterator[None]:
        present = _random_states()
        try:
            for restore, state in recorded:
                restore(state)
            yield
        finally:
            for restore, state in present:
                restore(state)

    return record(), replay()


def _random_states() -> list[tuple[Callable[[Tensor], None], Tensor]]:
    """Return the random state of every device type in use, with the function that restores it."""
    states: list[tuple[Callable[[Tensor], None], Tensor]] = [(torch.set_rng_state, torch.get_rng_state())]
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states.append((torch.cuda.set_rng_state, torch.cuda.get_rng_state()))
    if torch.backends.mps.is_available():
        states.append((torch.mps.set_rng_state, torch.mps.get_rng_state()))
    return states


REPLAY: dict[str, Any] = {
    "use_reentrant": False,
    "preserve_rng_state": False,
    "context_fn": _record_and_replay,
}
"""Arguments of `torch.utils.checkpoint.checkpoint` for this, for libraries that call it themselves."""
