"""How a job of a sweep ended, in its folder: what the sweep sums up, and what it goes on from."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reasonir.errors import InputError
from reasonir.runs.lock import is_locked
from reasonir.utils.files import atomic_path

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
"""The words are MLflow's."""
SWEEP = "sweep.json"
"""The file of a sweep's folder."""
RUN_ID = "run_id"
"""The file of a folder that has the id of its run in MLflow."""
_FILE = "outcome.json"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What became of a job.

    Attributes:
        overrides: the command line that composed it, the sweep's choices among them.
        status: RUNNING, FINISHED, FAILED or KILLED; one that was killed without warning still reads RUNNING.
        value: the best development metric, if there was a development set.
        error: why it didn't finish.
        seconds: that it took, those before it was continued included.
        run_id: in MLflow.
        pid: of its process while it runs.
        host: the machine that it runs on.
    """

    overrides: Sequence[str]
    status: str = RUNNING
    value: float | None = None
    error: str = ""
    seconds: float = 0.0
    run_id: str | None = None
    pid: int | None = None
    host: str | None = None

    def write(self, folder: Path) -> None:
        """Note it in the job's folder."""
        with atomic_path(folder / _FILE) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, folder: Path) -> JobRecord | None:
        """What a job's folder notes; None before it began."""
        file = folder / _FILE
        return cls(**json.loads(file.read_text())) if file.is_file() else None

    def process(self) -> Any:
        """The job's process (psutil's), None where it doesn't run any more, or on another machine."""
        import psutil

        if self.status != RUNNING or self.pid is None or self.host != platform.node():
            return None
        try:
            found = psutil.Process(self.pid)
            runs = found.status() != psutil.STATUS_ZOMBIE and any("spawn_main" in word for word in found.cmdline())
        except psutil.Error:
            return None
        return found if runs else None

    def gone(self, folder: Path) -> bool:
        """Whether the job of this folder reads as running and doesn't, on whatever machine."""
        return self.status == RUNNING and not is_locked(folder)

    def ended(self, folder: Path, status: str, error: str = "", *, seconds: float = 0.0) -> JobRecord:
        """How a job ended that ran for so many seconds more, with what its folder tells of it."""
        file = folder / RUN_ID
        run_id = file.read_text() if file.is_file() else self.run_id
        return replace(self, status=status, error=error, seconds=self.seconds + seconds, run_id=run_id, pid=None)


def outcomes(sweep: Path) -> dict[Path, JobRecord]:
    """Those of a sweep's jobs that began, by their folders, in the jobs' order."""
    folders = [file.parent for file in sweep.rglob(_FILE)]
    found = {folder: outcome for folder in folders if (outcome := JobRecord.read(folder))}
    return dict(sorted(found.items(), key=lambda job: (len(job[0].name), job[0].name)))


def running(sweep: Path) -> list[Any]:
    """The processes (psutil's) of a sweep's jobs that run on this machine."""
    return [process for outcome in outcomes(sweep).values() if (process := outcome.process())]


def refuse_sweep(run: Path) -> None:
    """Refuse the folder of a sweep, or of a job that left no run, where a run's is wanted.

    Raises:
        InputError: naming the sweep's jobs, or how the job goes on.
    """
    jobs = outcomes(run) if (run / SWEEP).is_file() else {}
    if jobs:
        raise InputError(f"{run} is a sweep: give one of its jobs, {', '.join(str(job) for job in jobs)}")
    outcome = JobRecord.read(run)
    if outcome is not None and outcome.status != FINISHED and not (run / "config.yaml").is_file():
        raise InputError(f"{run} is a job that left no run: go on with python -m reasonir.train resume={run.parent}")


def overrides_of(hydra: Any) -> list[str]:
    """What the command line, and a sweep's choice, make of a job's composition: of Hydra's own configuration."""
    return [str(each) for each in hydra.overrides.task]
