"""The run's own record of every logged number: metrics.csv, one value a line, whatever other logger there is.

A resumed run drops what was logged after its checkpoint and writes on, so the record reads as if nothing had happened.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from reasonir.utils.files import atomic_path


class History(Logger):
    """Appends (step, metric, value) to a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    @property
    def name(self) -> str:
        """The kind of logger."""
        return "history"

    @property
    def version(self) -> str:
        """There is only one."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append the values at a step."""
        with self.file.open("a", newline="") as stream:
            rows = csv.writer(stream)
            for name, value in metrics.items():
                if name != "epoch":
                    rows.writerow([step, name, repr(float(value))])

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration has files of its own."""

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`."""
        kept = [row for row in self._rows() if int(row[0]) <= step]
        with atomic_path(self.file) as part, part.open("w", newline="") as stream:
            csv.writer(stream).writerows(kept)

    def curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """Every metric's steps and values."""
        found: dict[str, tuple[list[int], list[float]]] = {}
        for step, name, value in self._rows():
            steps, values = found.setdefault(name, ([], []))
            steps.append(int(step))
            values.append(float(value))
        return found

    def _rows(self) -> list[list[str]]:
        if not self.file.is_file():
            return []
        with self.file.open(newline="") as stream:
            return [row for row in csv.reader(stream) if len(row) == 3]
