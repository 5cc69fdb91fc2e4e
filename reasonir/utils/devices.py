"""What a torch device is, for code that differs between a CPU and accelerators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

INVENTED = "invented"
"""Device type of `reasonir.invented.device`."""
_stands_for = "cuda"


def kind_of(device: torch.device) -> str:
    """Return the device type whose code path is taken: cpu, cuda or mps."""
    return _stands_for if device.type == INVENTED else device.type


@contextmanager
def standing_for(kind: str) -> Iterator[None]:
    """Let the invented device take the paths of another kind than CUDA within the block."""
    global _stands_for  # noqa: PLW0603
    before, _stands_for = _stands_for, kind
    try:
        yield
    finally:
        _stands_for = before
