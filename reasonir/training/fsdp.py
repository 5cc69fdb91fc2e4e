"""Sharded weights (FSDP): detection, and gathering for work that needs all of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel


def is_sharded(model: nn.Module | None) -> bool:
    """Return True if a strategy has sharded the module that it trains."""
    return isinstance(model, FullyShardedDataParallel)


def whole(model: nn.Module | None) -> AbstractContextManager[None]:
    """Gather all weights on every rank during the block, for work outside of a training step; every rank enters it."""
    if not isinstance(model, FullyShardedDataParallel):
        return nullcontext()
    return FullyShardedDataParallel.summon_full_params(model, writeback=False)
