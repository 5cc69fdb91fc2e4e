"""What a torch device is, for code that differs between a CPU and accelerators."""

from __future__ import annotations

import torch

INVENTED = "invented"
"""Device type of `reasonir.invented.device`, which takes the paths of CUDA."""


def kind_of(device: torch.device) -> str:
    """Return the device type whose code path is taken: cpu, cuda or mps."""
    return "cuda" if device.type == INVENTED else device.type
