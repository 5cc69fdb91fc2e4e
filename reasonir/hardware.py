"""What a machine can do: the facts of the hardware group, resolved against the device that is really there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

from reasonir.errors import InputError
from reasonir.utils.ranges import NonNegative, Positive, PositiveFloat, Validated

Accelerator = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]
_HALF = {"16-mixed": "float16", "bf16-mixed": "bfloat16"}


def number_format(precision: str, device: str) -> AbstractContextManager[Any]:
    """What a precision computes in, on a device: autocast where it is mixed, else nothing."""
    import torch

    if precision not in _HALF:
        return nullcontext()
    return torch.autocast(torch.device(device).type, getattr(torch, _HALF[precision]))


@dataclass(frozen=True, slots=True)
class Hardware(Validated):
    """Facts of a device profile.

    Attributes:
        name: the profile's name.
        accelerator: cpu, cuda, mps, or auto for the best one present.
        devices: how many of a machine take part; -1 for all present.
        nodes: how many machines.
        precision: 32-true, 16-mixed, bf16-mixed, or auto for the best the chip has.
        supported_precisions: those the chip really computes in.
        memory_gib: of one device; None for what is free on the present one.
        attention: attention implementation that runs there.
        strategy: Lightning's strategy: a name, or a built one.
        micro_batch_tokens: padded tokens of one segment; None fits them to the memory.
        max_saved_tokens: padded tokens whose graphs stay in memory; None fits them to the memory.
    """

    name: str
    accelerator: Accelerator = "auto"
    devices: Positive | Literal[-1] = 1
    precision: Literal["auto"] | Precision = "auto"
    supported_precisions: Sequence[Precision] = ("32-true", "16-mixed", "bf16-mixed")
    memory_gib: PositiveFloat | None = None
    attention: str = "sdpa"
    strategy: Any = "auto"
    micro_batch_tokens: Positive | None = None
    max_saved_tokens: NonNegative | None = None
    nodes: Positive = 1

    @property
    def ranks(self) -> int:
        """Devices of all machines; resolved profiles only."""
        return self.devices * self.nodes

    @property
    def torch_device(self) -> str:
        """The device of this process, for what runs outside of training; resolved profiles only."""
        return self.accelerator

    def problems(self) -> Iterable[str]:
        """What contradicts itself in the profile, whatever device is present."""
        if self.precision not in ("auto", *self.supported_precisions):
            yield (
                f"precision={self.precision}: {self.name} doesn't compute in that; it has "
                f"{', '.join(self.supported_precisions)}"
            )
        if self.accelerator == "cpu" and type(self.strategy).__name__ == "FSDPStrategy":
            yield f"accelerator=cpu: {self.name} shards over GPUs: choose hardware=ddp"

    def missing(self) -> str | None:
        """Why this machine can't run the profile, or None when it can."""
        import torch

        if self.accelerator == "cuda":
            present = torch.cuda.device_count()
            if not present:
                return f"hardware={self.name} needs an NVIDIA GPU, and torch sees none here: run hardware=cpu instead"
            if self.devices > present:
                return f"hardware.devices={self.devices}, but there are {present} GPUs here: lower it"
        if self.accelerator == "mps" and not torch.backends.mps.is_available():
            return "hardware=mps needs Apple silicon, and torch sees none here: run hardware=cpu instead"
        return None

    def resolve(self) -> Hardware:
        """The same with nothing left to choose: the present accelerator, its precision and memory.

        Raises:
            InputError: what `missing` says, or the precision that is best here isn't among the profile's.
        """
        if reason := self.missing():
            raise InputError(reason)
        import torch

        accelerator = self.accelerator
        if accelerator == "auto":
            accelerator = "cuda" if torch.cuda.is_available() else "cpu"
            accelerator = "mps" if torch.backends.mps.is_available() else accelerator
        precision = self.precision
        if precision == "auto":
            half = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
            precision = ("bf16-mixed" if half else "16-mixed") if accelerator == "cuda" else "32-true"
        devices = torch.cuda.device_count() if self.devices == -1 and accelerator == "cuda" else max(1, self.devices)
        memory = self.memory_gib if self.memory_gib is not None else _memory_gib(accelerator, devices)
        return replace(self, accelerator=accelerator, precision=precision, devices=devices, memory_gib=memory)


def _memory_gib(accelerator: str, devices: int) -> float:
    if accelerator == "cuda":
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory) / 2**30
    import psutil

    return float(psutil.virtual_memory().available) / 2**30 / devices
