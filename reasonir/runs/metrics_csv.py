"""metrics.csv: every logged metric of a run, one value per line.

A resumed run deletes the values logged after its checkpoint, so the file reads as if it had never been interrupted.
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
    """Lightning logger that appends (step, metric, value) to a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    @property
    def name(self) -> str:
        """The kind of logger."""
        return "history"

    @property
    def version(self) -> str:
        """Empty: there is only one."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append the values of a step."""
        with self.file.open("a", newline="") as stream:
            rows = csv.writer(stream)
            for name, value in metrics.items():
                if name != "epoch":
                    rows.writerow([step, name, repr(float(value))])

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is in config.yaml."""

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Delete the values logged after `step`."""
        kept = [row for row in self._rows() if int(row[0]) <= step]
        with atomic_path(self.file) as part, part.open("w", newline="") as stream:
            csv.writer(stream).writerows(kept)

    def curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """Return the steps and values of every metric."""
        curves: dict[str, tuple[list[int], list[float]]] = {}
        for step, name, value in self._rows():
            steps, values = curves.setdefault(name, ([], []))
            steps.append(int(step))
            values.append(float(value))
        return curves

    def _rows(self) -> list[list[str]]:
        if not self.file.is_file():
            return []
        with self.file.open(newline="") as stream:
            return [row for row in csv.reader(stream) if len(row) == 3]
