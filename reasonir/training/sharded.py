"""What sharded weights (FSDP) need of us: batches left as they are, and weights put together where all are needed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lightning.pytorch.plugins.precision import FSDPPrecision
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel


class ShardedPrecision(FSDPPrecision):
    """Lightning's, but a batch holds token ids and labels only, which no number format changes."""

    def __init__(self, precision: Any) -> None:
        super().__init__(precision)

    def convert_input(self, data: Any) -> Any:
        """The batch as it is: Lightning's way through it stops at frozen dataclasses."""
        return data


def is_sharded(model: nn.Module | None) -> bool:
    """Whether a strategy has sharded the module it trains."""
    return isinstance(model, FullyShardedDataParallel)


def whole(model: nn.Module | None) -> AbstractContextManager[None]:
    """Every rank has all weights in the block, for work outside of a training step; every rank enters it."""
    if not isinstance(model, FullyShardedDataParallel):
        return nullcontext()
    return FullyShardedDataParallel.summon_full_params(model, writeback=False)


def clipped(model: nn.Module | None, norm: float) -> bool:
    """Clip the gradients of sharded weights by their norm over all ranks; False where weights aren't sharded."""
    if not isinstance(model, FullyShardedDataParallel):
        return False
    model.clip_grad_norm_(norm)
    return True
