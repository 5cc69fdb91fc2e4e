"""The order of batches, and a loader that continues it exactly where a checkpoint left off.

A run's batches are numbered from 0. Which items make up batch number b, and what is drawn for them, is a function of
(seed, b) alone: the loader's state is one count, the same on every rank and with any number of workers. An item is one
relevant pair (or one query with all its relevant documents); `batch_size` counts the items of all ranks together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from reasonir.errors import InputError
from reasonir.types import Batch


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Which items a rank takes in one step: `step` counts batches over the whole run."""

    step: int
    epoch: int
    items: np.ndarray


@dataclass(frozen=True)
class Order:
    """A seeded permutation of the items a pass over the data, cut into batches, cut into ranks."""

    items: int
    batch_size: int
    seed: int
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.items < 2:
            raise InputError(f"{self.items} training pair(s) can't be contrasted with each other: give more data")
        if self.batch_size < 2 * self.ranks:
            raise InputError(
                f"loader.batch_size={self.batch_size} gives {self.ranks} device(s) less than 2 items each, which "
                f"leaves nothing to contrast: set it to {2 * self.ranks} or more"
            )
        if self.items < self.ranks:
            raise InputError(f"{self.items} training pairs are too few for {self.ranks} devices: use fewer devices")

    def __len__(self) -> int:
        """Batches a pass: the last may be smaller, but gives every rank an item, and is left out where it can't."""
        full, rest = divmod(self.items, self.batch_size)
        return full + (rest >= max(self.ranks, 2))

    def plan(self, step: int) -> BatchPlan:
        """Batch number `step` of the run, this rank's share."""
        epoch, position = divmod(step, len(self))
        batch = self._permutation(epoch)[position * self.batch_size : (position + 1) * self.batch_size]
        return BatchPlan(step, epoch, np.array_split(batch, self.ranks)[self.rank])

    def _permutation(self, epoch: int) -> np.ndarray:
        return _permutation(self.items, self.seed, epoch)


@lru_cache(maxsize=2)
def _permutation(items: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(items)


class _Upcoming(Sampler[BatchPlan]):
    """The plans from `start` to the end of that pass."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.start = 0

    def __iter__(self) -> Iterator[BatchPlan]:
        end = (self.start // len(self.order) + 1) * len(self.order)
        return (self.order.plan(step) for step in range(self.start, end))

    def __len__(self) -> int:
        return len(self.order)


class StepLoader(DataLoader[Batch]):
    """Batches in the order of the run; Lightning saves and restores its one count."""

    def __init__(self, batches: Dataset[Batch], order: Order, *, workers: int, pin_memory: bool = False) -> None:
        self.upcoming = _Upcoming(order)
        self.consumed = 0
        super().__init__(
            batches,
            batch_size=None,
            sampler=self.upcoming,  # it yields plans, which `batches` takes as keys
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=_quiet_tokenizers,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self.upcoming.start = self.consumed
        for batch in super().__iter__():
            self.consumed += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """How many batches training has taken, and what their order depends on."""
        order = self.upcoming.order
        return {
            "consumed": self.consumed,
            "items": order.items,
            "batch_size": order.batch_size,
            "seed": order.seed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after `state["consumed"]` batches.

        Raises:
            InputError: the data or batch size isn't that of the checkpoint, so its order can't be continued.
        """
        mine = self.state_dict()
        for key in ("items", "batch_size", "seed"):
            if state[key] != mine[key]:
                raise InputError(
                    f"the checkpoint was made with {key}={state[key]}, this run has {key}={mine[key]}: "
                    "resume with the same data, loader and seed, or start a new run"
                )
        self.consumed = state["consumed"]


def _quiet_tokenizers(_: int) -> None:
    import os

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
