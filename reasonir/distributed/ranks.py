"""Collectives of a training step: gathered documents with exact gradients, and means over all ranks' pairs.

Scaling: DDP averages gradients over W ranks. The gather's backward pass sums the gradients that all ranks have for a
document, so with a loss of (W / total pairs) x the sum over its own pairs on each rank, DDP's average is the exact
gradient of the mean over all pairs, however unevenly pairs and lengths are distributed.

Shape letters: T vectors of all texts, D vector size, N texts, P pairs.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from reasonir.data.batch import Representation


class Ranks(Protocol):
    """The ranks that take part in a step."""

    rank: int
    size: int

    def gather(self, own: Representation) -> Representation:
        """Return the representations of all ranks in rank order, on this rank's device; differentiable."""

    def gather_keys(self, own_N: Tensor) -> tuple[Tensor, int]:
        """Return the keys of all ranks in rank order (on the CPU), and how many precede this rank's."""

    def mean(self, own_P: Tensor, chosen_P: Tensor | None = None) -> Tensor:
        """Return this rank's share of the mean over all ranks' values: DDP's average of the shares is that mean.

        Args:
            own_P: this rank's values, of any shape.
            chosen_P: which of them count, a mask of the same shape; all by default. Selecting them by it instead would
                make the host wait for the device.
        """

    def most(self, own: int) -> int:
        """Return the maximum over ranks."""


class Alone:
    """A single process: nothing to exchange."""

    rank = 0
    size = 1

    def gather(self, own: Representation) -> Representation:
        """Return `own`."""
        return own

    def gather_keys(self, own_N: Tensor) -> tuple[Tensor, int]:
        """Return `own_N` and offset 0."""
        return own_N, 0

    def mean(self, own_P: Tensor, chosen_P: Tensor | None = None) -> Tensor:
        """Return the mean, 0 of nothing."""
        if chosen_P is None:
            return own_P.sum() / max(1, own_P.numel())
        return own_P.where(chosen_P, 0).sum() / chosen_P.sum().clamp(min=1)

    def most(self, own: int) -> int:
        """Return `own`."""
        return own


class Together:
    """The processes of the default process group (gloo or nccl)."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def gather(self, own: Representation) -> Representation:
        """Gather the representations of all ranks, whatever their numbers and lengths."""
        values_TD = _Gather.apply(own.values_TD)  # type: ignore[no-untyped-call]
        lengths_N = _gather_uneven(own.lengths_N.to(own.values_TD.device))[0].cpu()
        return Representation(values_TD, lengths_N)

    def gather_keys(self, own_N: Tensor) -> tuple[Tensor, int]:
        """Gather the keys of all ranks and return them with this rank's offset."""
        keys_N, counts = _gather_uneven(own_N.to(_device()))
        return keys_N.cpu(), sum(counts[: self.rank])

    def mean(self, own_P: Tensor, chosen_P: Tensor | None = None) -> Tensor:
        """Return the local sum times ranks / pairs of all ranks, 0 without pairs."""
        if chosen_P is None:
            total = torch.full((), own_P.numel(), device=_device())
        else:
            own_P, total = own_P.where(chosen_P, 0), chosen_P.sum()
        dist.all_reduce(total)
        return own_P.sum() * self.size / total.clamp(min=1)

    def most(self, own: int) -> int:
        """Return the maximum over ranks."""
        value = torch.tensor(own, device=_device())
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return int(value.item())


def present_ranks() -> Ranks:
    """Return the ranks of this run: `Together` if a process group is initialised, else `Alone`."""
    return Together() if dist.is_available() and dist.is_initialized() else Alone()


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _gather_uneven(own: Tensor) -> tuple[Tensor, list[int]]:
    """Concatenate tensors that differ in their first dimension; return them with each rank's row count."""
    size = dist.get_world_size()
    counts = [torch.zeros(1, dtype=torch.int64, device=own.device) for _ in range(size)]
    dist.all_gather(counts, torch.tensor([own.shape[0]], dtype=torch.int64, device=own.device))
    rows = [int(count.item()) for count in counts]
    padded = own.new_zeros((max(rows), *own.shape[1:]))
    padded[: own.shape[0]] = own
    parts = [torch.empty_like(padded) for _ in range(size)]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)]), rows


class _Gather(torch.autograd.Function):
    """Rows of all ranks; the gradient of a row is the sum of all ranks' gradients for it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        gathered, rows = _gather_uneven(own.contiguous())
        ctx.start, ctx.count = sum(rows[: dist.get_rank()]), own.shape[0]
        return gathered

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous()
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.count]
