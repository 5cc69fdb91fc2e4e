"""Cache of budgets after out-of-memory errors, and measurement of a graph's size.

The plan estimates a run's budget. Where memory is tight, the least certain part of the estimate is measured: the bytes
per token that a graph keeps, counted tensor by tensor in two forward passes on the run's device and in its precision. A
step that still runs out of memory halves the budget (`engine/oom_retry.py`); the budget that fits is cached for the
next run of the same model, batch and device, in a file that may be deleted.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reasonir.data.batch import Tokens
from reasonir.engine.step import Budget
from reasonir.errors import InputError
from reasonir.hardware import Hardware, number_format
from reasonir.model.encoder import Encoder
from reasonir.utils.files import exclusive
from reasonir.utils.state import read_json, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BudgetCache:
    """Budgets that fit, by model, head, batch size and device."""

    file: Path
    key: str

    @classmethod
    def of(cls, home: Path, hardware: Hardware, *, model: str, head: str, batch_size: int) -> BudgetCache:
        """Return the cache entry of this model, head and batch size on the present device."""
        device = platform.machine()  # without its free memory, which changes from run to run
        if hardware.accelerator == "cuda":
            device = f"{torch.cuda.get_device_name()} with {hardware.memory_gib} GiB"
        return cls(
            home / "cache" / "budgets.json", f"{model}, {head}, batch {batch_size}, {hardware.precision}, {device}"
        )

    def limit(self, budget: Budget) -> Budget:
        """Return the budget, reduced to the cached one if that is smaller."""
        cached = self._read().get(self.key)
        if cached is None:
            return budget
        return Budget(
            min(budget.micro_batch, cached["micro_batch"]),
            min(budget.max_saved_tokens, cached["kept"]),
            budget.equal_passes,
        )

    def keep(self, budget: Budget) -> None:
        """Cache a budget."""
        with exclusive(self.file):
            entry = {"micro_batch": budget.micro_batch, "kept": budget.max_saved_tokens}
            write_json(self.file, self._read() | {self.key: entry})

    def _read(self) -> dict[str, dict[str, int]]:
        if not self.file.is_file():
            return {}
        try:
            return read_json(self.file, remedy="its budgets are measured again")
        except InputError as error:
            log.warning("%s", error)
            return {}


def graph_bytes(encoder: Encoder, hardware: Hardware, *, width: int) -> float:
    """Return the bytes per token that the graph of texts of `width` tokens keeps, on the encoder's device.

    Two passes, over one text and over two, separate what grows with the tokens from copies of weights.
    """
    one, two = (_saved_bytes(encoder, hardware, width, count) for count in (1, 2))
    return (two - one) / width


def _saved_bytes(encoder: Encoder, hardware: Hardware, width: int, count: int) -> int:
    """Return the bytes of all tensors that a forward pass saves for the backward pass."""
    row = ([1 + position % 7 for position in range(width)], [True] * width, [True] * width)
    tokens = Tokens.pack([row] * count)
    storages: dict[int, int] = {}

    def record(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return saved

    with (
        torch.random.fork_rng(),
        number_format(hardware.precision, hardware.accelerator),
        torch.autograd.graph.saved_tensors_hooks(record, lambda saved: saved),
    ):
        values_TD = encoder(encoder.pad(tokens, torch.arange(count)))
    total = sum(storages.values())  # while the graph is alive, so that no address is reused
    del values_TD
    return total
