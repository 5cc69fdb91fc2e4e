"""Sharded weights (FSDP): recognised, and put together where all of them are needed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel


def is_sharded(model: nn.Module | None) -> bool:
    """Whether a strategy has sharded the module it trains."""
    return isinstance(model, FullyShardedDataParallel)


def whole(model: nn.Module | None) -> AbstractContextManager[None]:
    """Every rank has all weights in the block, for work outside of a training step; every rank enters it."""
    if not isinstance(model, FullyShardedDataParallel):
        return nullcontext()
    return FullyShardedDataParallel.summon_full_params(model, writeback=False)
