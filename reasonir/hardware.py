"""Hardware profiles, resolved against the device that is present."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from reasonir.errors import InputError
from reasonir.utils.devices import INVENTED
from reasonir.utils.ranges import NonNegative, Positive, PositiveFloat, Rule, Validated

log = logging.getLogger(__name__)
Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]
_ATTENTION = ("varlen", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
Attention = Annotated[
    str,
    Rule(
        lambda name: name in _ATTENTION or "/" in name, f"{', '.join(_ATTENTION)}, or a kernel of the hub (owner/name)"
    ),
]
_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
_STRATEGY = Rule(
    lambda value: value in _STRATEGIES if isinstance(value, str) else callable(getattr(value, "setup", None)),
    f"{', '.join(_STRATEGIES)}, or a strategy's _target_ as in hardware=fsdp",
)
_BFLOAT16 = (8, 0)
"""Compute capability from which NVIDIA's GPUs compute in bfloat16 (docs/hardware.md)."""
HALF = {"16-mixed": "float16", "bf16-mixed": "bfloat16"}
"""Names of the 16-bit types of mixed precisions."""


def number_format(precision: str, device: str) -> AbstractContextManager[Any]:
    """Return a context of mixed precision on a device: autocast for mixed precisions, else none."""
    import torch

    if precision not in HALF:
        return nullcontext()
    return torch.autocast(torch.device(device).type, getattr(torch, HALF[precision]))


def best_accelerator() -> Accelerator:
    """Return the fastest kind of device that torch sees."""
    import torch

    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class Hardware(Validated):
    """Device profile.

    Attributes:
        name: the profile's name.
        accelerator: cpu, cuda, mps, or auto for the best one present.
        devices: devices per machine; -1 for all present.
        precision: 32-true, 16-mixed, bf16-mixed, or auto for the best that the device supports.
        supported_precisions: precisions that the device supports natively.
        memory_gib: memory of one device; None for all of the present GPU's, or what is free on a CPU.
        attention: attention implementation that runs on the device.
        strategy: Lightning strategy: a name, or an instance.
        micro_batch_tokens: padded tokens per segment; None fits them to the memory.
        max_saved_tokens: padded tokens whose graphs stay in memory; None fits them to the memory.
        price_per_hour: of a device, in any currency; None if unknown.
        traced: whether an invented device (`reasonir.invented`) takes the place of one CUDA GPU of the profile.
    """

    name: str
    accelerator: Accelerator = "auto"
    devices: Positive | Literal[-1] = 1
    precision: Literal["auto"] | Precision = "auto"
    supported_precisions: Annotated[Sequence[Precision], MinLen(1)] = ("32-true", "16-mixed", "bf16-mixed")
    memory_gib: PositiveFloat | None = None
    attention: Attention = "sdpa"
    strategy: Annotated[Any, _STRATEGY] = "auto"
    micro_batch_tokens: Positive | None = None
    max_saved_tokens: NonNegative | None = None
    nodes: Positive = 1
    price_per_hour: PositiveFloat | None = None
    traced: bool = False

    @property
    def ranks(self) -> int:
        """Devices of all machines; resolved profiles only."""
        return self.devices * self.nodes

    @property
    def torch_device(self) -> str:
        """Device of this process outside training; resolved profiles only."""
        return INVENTED if self.traced else self.accelerator

    def problems(self) -> Iterable[str]:
        """Yield contradictions within the profile, whatever device is present."""
        if self.precision not in ("auto", *self.supported_precisions):
            yield (
                f"precision={self.precision}: {self.name} doesn't support it; choose one of "
                f"{', '.join(self.supported_precisions)}"
            )
        if self.accelerator == "cpu" and type(self.strategy).__name__ == "FSDPStrategy":
            yield f"accelerator=cpu: {self.name} shards over GPUs: choose hardware=ddp"
        if self.traced and self.accelerator not in ("auto", "cuda"):
            yield f"traced=true: the invented device takes the place of a GPU, not of {self.name}: choose hardware=t4"

    def missing(self) -> str | None:
        """Return the reason why this machine can't run the profile, None if it can."""
        import torch

        if self.traced:
            return None
        if self.accelerator == "cuda":
            present = torch.cuda.device_count()
            if not present:
                return f"hardware={self.name} needs an NVIDIA GPU, but torch sees none: choose hardware=cpu"
            if self.devices > present:
                return f"hardware.devices={self.devices}, but this machine has {present} GPUs: reduce it"
        if self.accelerator == "mps" and not torch.backends.mps.is_available():
            return "hardware=mps needs Apple silicon, but torch sees none: choose hardware=cpu"
        return None

    def resolve(self) -> Hardware:
        """Return the profile with the present accelerator, its precision and memory filled in.

        Raises:
            InputError: this machine can't run the profile (see `missing`).
        """
        if reason := self.missing():
            raise InputError(reason)
        import torch

        if self.traced:
            memory = _memory_gib("cpu", 1) if self.memory_gib is None else self.memory_gib
            one: dict[str, Any] = {"devices": 1, "nodes": 1, "strategy": "auto"}
            if self.precision == "auto":
                one["precision"] = "bf16-mixed"
            return replace(self, accelerator="cuda", memory_gib=memory, **one)
        accelerator = best_accelerator() if self.accelerator == "auto" else self.accelerator
        precision = self.precision
        capability = torch.cuda.get_device_capability() if accelerator == "cuda" else None
        if precision == "auto":
            precision = "32-true" if capability is None else "bf16-mixed" if capability >= _BFLOAT16 else "16-mixed"
        elif precision == "bf16-mixed" and capability is not None and capability < _BFLOAT16:
            log.warning(
                "hardware.precision=bf16-mixed: %s only emulates bfloat16, without fused attention: choose 16-mixed",
                torch.cuda.get_device_name(),
            )
        devices = torch.cuda.device_count() if self.devices == -1 and accelerator == "cuda" else max(1, self.devices)
        memory = self.memory_gib if self.memory_gib is not None else _memory_gib(accelerator, devices)
        return replace(self, accelerator=accelerator, precision=precision, devices=devices, memory_gib=memory)


def _memory_gib(accelerator: str, devices: int) -> float:
    if accelerator == "cuda":
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory) / 2**30
    import psutil

    return float(psutil.virtual_memory().available) / 2**30 / devices
