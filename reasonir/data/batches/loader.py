"""Batch order, and a loader that resumes it exactly from a checkpoint.

A run's batches are numbered from 0. The items of batch number b, and what is drawn for them, are a function of
(seed, b) alone: the loader's state is one count, the same on every rank and with any number of workers. An item is one
relevant pair (or one query with all its relevant documents); `batch_size` counts the items of all ranks together.

With several sources, an epoch takes a quota of each: the next items of an endless sequence of permutations of its
items, so that over the epochs all are taken equally often, whatever the quota.

Shape letters: I items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from reasonir.data.batch import Batch
from reasonir.errors import InputError


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Items that a rank takes in one step; `step` counts batches over the whole run.

    turn_I counts how often the run took each item before, since an item's draws depend on it.
    """

    step: int
    turn_I: np.ndarray
    items: np.ndarray


@dataclass(frozen=True, slots=True)
class Quota:
    """Consecutive items of a source, from number `first`, and how many of them an epoch takes."""

    first: int
    items: int
    taken: int


@dataclass(frozen=True)
class Order:
    """Seeded order of the items of each epoch, cut into batches and shared among ranks.

    Attributes:
        items: number of items.
        batch_size: items per batch, over all ranks.
        seed: draws the order.
        rank: this process.
        ranks: number of processes.
        quotas: what an epoch takes of each source; empty takes every item once.
        homogeneous: every batch holds items of one source.
    """

    items: int
    batch_size: int
    seed: int
    rank: int = 0
    ranks: int = 1
    quotas: tuple[Quota, ...] = ()
    homogeneous: bool = False

    def __post_init__(self) -> None:
        least = min(sizes) if (sizes := self._sizes) else 0
        if least < 2:
            where = f" of one of {len(sizes)} sources" if len(sizes) > 1 else ""
            raise InputError(f"{least} training pair(s){where} give no in-batch negatives: give more data")
        if self.batch_size < 2 * self.ranks:
            raise InputError(
                f"loader.batch_size={self.batch_size} gives {self.ranks} device(s) fewer than 2 items each, too few "
                f"for in-batch negatives: set it to {2 * self.ranks} or more"
            )
        if least < self.ranks:
            raise InputError(f"{least} training pairs are too few for {self.ranks} devices: use fewer devices")

    def __len__(self) -> int:
        """Return the batches per epoch; a pool's last one may be smaller, and is dropped if too small for all ranks."""
        return sum(len(_cuts(size, self.batch_size, self.ranks)) for size in self._sizes)

    def plan(self, step: int) -> BatchPlan:
        """Return this rank's share of batch number `step` of the run."""
        epoch, position = divmod(step, len(self))
        items, turn_I = _epoch_batches(replace(self, rank=0), epoch)[position]
        share = np.array_split(np.arange(len(items)), self.ranks)[self.rank]
        return BatchPlan(step, turn_I[share], items[share])

    @property
    def sources(self) -> tuple[Quota, ...]:
        """Quota of each source; a single one without sources."""
        return self.quotas or (Quota(0, self.items, self.items),)

    @property
    def _sizes(self) -> list[int]:
        """Number of items per epoch of each pool that batches are cut from."""
        taken = [quota.taken for quota in self.sources]
        return taken if self.homogeneous else [sum(taken)]


@lru_cache(maxsize=2)
def _epoch_batches(order: Order, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (items, turns) of every batch of an epoch."""
    seed = order.seed
    taken = [_taken(number, quota, seed, epoch) for number, quota in enumerate(order.sources)]
    pools = taken if order.homogeneous else [tuple(map(np.concatenate, zip(*taken, strict=True)))]
    batches = []
    for number, (items, turn_I) in enumerate(pools):
        shuffled = np.random.default_rng([seed, epoch, *([number] if number else [])]).permutation(len(items))
        cuts = [shuffled[cut] for cut in _cuts(len(items), order.batch_size, order.ranks)]
        batches += [(items[chosen], turn_I[chosen]) for chosen in cuts]
    if len(pools) == 1:
        return batches
    return [batches[n] for n in np.random.default_rng([seed, epoch, len(pools)]).permutation(len(batches))]


def _taken(number: int, quota: Quota, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (items, turns) that an epoch takes of source `number`."""
    if quota.taken == quota.items:
        return np.arange(quota.first, quota.first + quota.items), np.full(quota.items, epoch)
    positions = np.arange(epoch * quota.taken, (epoch + 1) * quota.taken)
    turn_I, within = np.divmod(positions, quota.items)
    items = np.empty_like(positions)
    for turn in np.unique(turn_I):
        chosen = turn_I == turn
        items[chosen] = np.random.default_rng([seed, 5, number, turn]).permutation(quota.items)[within[chosen]]
    return items + quota.first, turn_I


def _cuts(size: int, batch_size: int, ranks: int) -> list[slice]:
    """Return the slices of a pool's batches, without a rest too small for in-batch negatives or for all ranks."""
    bounds = [*range(0, size, batch_size), size]
    return [slice(start, end) for start, end in pairwise(bounds) if end - start >= min(batch_size, max(ranks, 2))]


class _Upcoming(Sampler[BatchPlan]):
    """Sampler of the plans from step `start` to the end of its epoch."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.start = 0

    def __iter__(self) -> Iterator[BatchPlan]:
        end = (self.start // len(self.order) + 1) * len(self.order)
        return (self.order.plan(step) for step in range(self.start, end))

    def __len__(self) -> int:
        return len(self.order)


class StepLoader(DataLoader[Batch]):
    """Loader of batches in the order of the run; Lightning saves and restores its one count."""

    def __init__(self, batches: Dataset[Batch], order: Order, *, workers: int, pin_memory: bool = False) -> None:
        self.upcoming = _Upcoming(order)
        self.consumed = 0
        super().__init__(
            batches,
            batch_size=None,
            sampler=self.upcoming,  # yields plans, the keys of `batches`
            num_workers=workers,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=quiet_tokenizers,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self.upcoming.start = self.consumed
        for batch in super().__iter__():
            self.consumed += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches training has taken, and what their order depends on."""
        order = self.upcoming.order
        return {
            "consumed": self.consumed,
            "items": order.items,
            "batch_size": order.batch_size,
            "seed": order.seed,
            "quotas": [quota.taken for quota in order.sources],
            "homogeneous": order.homogeneous,
            "batches": len(order),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after `state["consumed"]` batches.

        Raises:
            InputError: data, batch size or seed differ from the checkpoint's, so its order can't be continued, or the
                rest of an epoch is too small for one of the two numbers of devices.
        """
        order, current = self.upcoming.order, self.state_dict()
        keys = ("items", "batch_size", "seed", "quotas", "homogeneous")
        refuse_other_order(state, {key: current[key] for key in keys})
        if state["batches"] != current["batches"]:
            raise InputError(
                f"the checkpoint was made with {state['batches']} batches per epoch, {order.ranks} device(s) make "
                f"{current['batches']}, because an epoch ends with fewer pairs than devices: resume with as many "
                "devices as before, or with fewer"
            )
        self.consumed = state["consumed"]


def refuse_other_order(state: Mapping[str, Any], order: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose order of batches depends on other values than this run's.

    Raises:
        InputError: naming the first value that differs.
    """
    for key, value in order.items():
        if state.get(key) != value:
            raise InputError(
                f"the checkpoint was made with {key}={state.get(key)}, this run has {key}={value}: resume with the "
                "same data, loader and seed, or start a new run"
            )


def quiet_tokenizers(_: int) -> None:
    """Keep a worker's tokenizer to one thread."""
    import os

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
