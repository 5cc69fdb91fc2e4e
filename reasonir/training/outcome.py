"""How a job of a sweep ended, in its folder: what the sweep sums up, and what it goes on from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reasonir.files import completed

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
"""The words are MLflow's."""
_FILE = "outcome.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        overrides: the command line that composed it, the sweep's choices among them.
        status: RUNNING, FINISHED, FAILED or KILLED; one that was killed without warning still reads RUNNING.
        value: the best development metric, if there was a development set.
        error: why it didn't finish.
        seconds: that it took, those before it was continued included.
        run_id: in MLflow.
    """

    overrides: Sequence[str]
    status: str = RUNNING
    value: float | None = None
    error: str = ""
    seconds: float = 0.0
    run_id: str | None = None

    def write(self, folder: Path) -> None:
        """Note it in the job's folder."""
        with completed(folder / _FILE) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, folder: Path) -> Outcome | None:
        """What a job's folder notes; None before it began."""
        file = folder / _FILE
        return cls(**json.loads(file.read_text())) if file.is_file() else None


def overrides_of(hydra: Any) -> list[str]:
    """What the command line, and a sweep's choice, make of a job's composition: of Hydra's own configuration."""
    return [str(each) for each in hydra.overrides.task]
