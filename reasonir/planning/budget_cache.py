"""How a run's budget is found: estimated by the plan, corrected by what is measured, remembered when it was too much.

Measured is what the estimate is least sure of: the bytes a token that a graph keeps, counted tensor by tensor in two
forward passes on the device and in the number format of the run, where memory is tight enough to matter. A step that
runs out of memory all the same halves the budget (`engine/oom_retry.py`); what it came to is kept for the next run of
the same model, batch and device, in a file that may be deleted.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from reasonir.data.batch import Tokens
from reasonir.engine.step import Budget
from reasonir.hardware import Hardware, number_format
from reasonir.model.encoder import Encoder
from reasonir.utils.files import atomic_path, exclusive


@dataclass(frozen=True, slots=True)
class BudgetCache:
    """The budgets that steps came down to, by what they were found for."""

    file: Path
    key: str

    @classmethod
    def of(cls, home: Path, hardware: Hardware, *, model: str, head: str, batch_size: int) -> BudgetCache:
        """What is known of this model, head and batch on the present device in its number format."""
        device = platform.machine()  # whose free memory is another one each time
        if hardware.accelerator == "cuda":
            device = f"{torch.cuda.get_device_name()} with {hardware.memory_gib} GiB"
        return cls(
            home / "cache" / "budgets.json", f"{model}, {head}, batch {batch_size}, {hardware.precision}, {device}"
        )

    def limit(self, budget: Budget) -> Budget:
        """The budget, but no more than what was found to fit."""
        known = self._read().get(self.key)
        if known is None:
            return budget
        return Budget(
            min(budget.micro_batch, known["micro_batch"]),
            min(budget.max_saved_tokens, known["kept"]),
            budget.equal_passes,
        )

    def keep(self, budget: Budget) -> None:
        """Remember a budget."""
        with exclusive(self.file):
            known = self._read() | {self.key: {"micro_batch": budget.micro_batch, "kept": budget.max_saved_tokens}}
            with atomic_path(self.file) as partial:
                partial.write_text(json.dumps(known, indent=2))

    def _read(self) -> dict[str, dict[str, int]]:
        return json.loads(self.file.read_text()) if self.file.is_file() else {}


def graph_bytes(encoder: Encoder, hardware: Hardware, *, width: int) -> float:
    """Bytes a token that the graph of texts of `width` tokens keeps, on the encoder's device.

    Two passes over one text and over two tell what grows with the tokens from copies of weights, which don't.
    """
    one, two = (_held(encoder, hardware, width, count) for count in (1, 2))
    return (two - one) / width


def _held(encoder: Encoder, hardware: Hardware, width: int, count: int) -> int:
    """Bytes of all tensors that a forward pass leaves for the backward pass."""
    row = ([1 + place % 7 for place in range(width)], [True] * width, [True] * width)
    tokens = Tokens.pack([row] * count)
    storages: dict[int, int] = {}

    def note(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return saved

    with (
        torch.random.fork_rng(),
        number_format(hardware.precision, hardware.accelerator),
        torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved),
    ):
        values_TD = encoder(encoder.pad(tokens, torch.arange(count)))
    held = sum(storages.values())  # before the graph, and with it the storages' addresses, is given up
    del values_TD
    return held
