"""Cache of budgets after out-of-memory errors.

A step that runs out of memory halves the planned budget (`engine/oom_retry.py`); the budget that fits is cached for the
next run of the same model, batch and device, in a file that may be deleted.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

from reasonir.engine.step import Budget
from reasonir.errors import InputError
from reasonir.hardware import Hardware
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
        if hardware.accelerator == "cuda" and not hardware.traced:
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
