"""metrics.csv: every logged metric of a run, one value per line.

A resumed run deletes the values logged after its checkpoint, so the file reads as if it had never been interrupted. The
checkpoint has the checksum of the values before it.
"""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from reasonir.errors import InputError
from reasonir.utils.files import atomic_path, sync

log = logging.getLogger(__name__)


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
        if not self.file.is_file():
            return
        kept = [row for row in self._rows() if int(row[0]) <= step]
        with atomic_path(self.file) as part, part.open("w", newline="") as stream:
            csv.writer(stream).writerows(kept)

    def mark(self) -> dict[str, Any]:
        """Return the size and the SHA-256 of the file, after syncing it to the disk; see `check`."""
        content = self.file.read_bytes() if self.file.is_file() else b""
        if content:
            sync(self.file)
        return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    @rank_zero_only
    def check(self, mark: Mapping[str, Any]) -> None:
        """Warn if the file doesn't begin with what it held at `mark`: training goes on without it, curves may not."""
        content = self.file.read_bytes() if self.file.is_file() else b""
        if hashlib.sha256(content[: mark["size"]]).hexdigest() != mark["sha256"]:
            log.warning("%s was changed or deleted after it was written: the report's curves may be wrong", self.file)

    def curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """Return the steps and values of every metric."""
        curves: dict[str, tuple[list[int], list[float]]] = {}
        for step, name, value in self._rows():
            steps, values = curves.setdefault(name, ([], []))
            steps.append(int(step))
            values.append(float(value))
        return curves

    def _rows(self) -> list[list[str]]:
        """Return (step, name, value) of every line; a last line that a killed process left incomplete is no value.

        Raises:
            InputError: a line is damaged.
        """
        text = self.file.read_bytes() if self.file.is_file() else b""
        rows = []
        for number, line in enumerate(text.splitlines(keepends=True), 1):
            try:
                ((step, name, value),) = csv.reader([line.decode()])
                int(step), float(value)
            except (ValueError, csv.Error) as error:
                if line.endswith(b"\n"):
                    remedy = "mend or remove the line, or delete the file to go on without its curves"
                    raise InputError(
                        f"{self.file}, line {number} is no 'step,metric,value' ({error}): {remedy}"
                    ) from error
            else:
                rows.append([step, name, value])
        return rows
