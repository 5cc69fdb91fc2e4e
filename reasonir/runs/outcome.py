"""Record of a sweep's job in its folder: status, metric and error, for the summary and for resuming."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from reasonir.errors import InputError
from reasonir.runs.lock import is_locked
from reasonir.utils.command_line import command_line, override
from reasonir.utils.state import read_json, write_json
from reasonir.utils.values import shorten

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
"""MLflow's run statuses."""
SWEEP = "sweep.json"
"""File in a sweep's folder."""
RUN_ID = "run_id"
"""File in a tracked folder with the id of its MLflow run."""
_FILE = "outcome.json"
_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Status and result of a job.

    Attributes:
        overrides: the overrides that composed it, including the sweep's choices.
        status: RUNNING, FINISHED, FAILED or KILLED; a job that got SIGKILL still reads RUNNING.
        value: the best development metric, None without a development set.
        error: reason why it didn't finish.
        seconds: run time, including the time before it was resumed.
        run_id: of its MLflow run.
        pid: of its process while it is running.
        host: on which it is running.
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
        """Write the record to the job's folder."""
        write_json(folder / _FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> JobRecord | None:
        """Read the record of a job's folder, None before the job has started.

        Raises:
            InputError: the record is damaged.
        """
        return read_record(cls, folder / _FILE, remedy="delete it to run the job again")

    def process(self) -> Any:
        """Return the job's psutil.Process, None if it has ended or runs on another machine."""
        import psutil

        if self.status != RUNNING or self.pid is None or self.host != platform.node():
            return None
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE and any("spawn_main" in arg for arg in process.cmdline())
        except psutil.Error:
            return None
        return process if alive else None

    def is_lost(self, folder: Path) -> bool:
        """Return True if the job is recorded as running, but no process on any machine holds its folder."""
        return self.status == RUNNING and not is_locked(folder)

    def ended(self, folder: Path, status: str, error: str = "", *, seconds: float = 0.0) -> JobRecord:
        """Return the record of the ended job, which ran `seconds` more, with the run id from its folder."""
        run_id = read_run_id(folder) or self.run_id
        return replace(self, status=status, error=error, seconds=self.seconds + seconds, run_id=run_id, pid=None)


def read_record(record: type[_Record], file: Path, *, remedy: str) -> _Record | None:
    """Return the dataclass that a state file holds, None without the file.

    Raises:
        InputError: the file is damaged.
    """
    if not file.is_file():
        return None
    values = read_json(file, remedy=remedy)
    try:
        return record(**values)
    except TypeError as error:
        raise InputError(f"{file} isn't a {record.__name__} ({error}): {remedy}") from error


def read_run_id(folder: Path) -> str | None:
    """Return the MLflow id saved in a folder, None without one.

    Raises:
        InputError: the file holds something else.
    """
    file = folder / RUN_ID
    if not file.is_file():
        return None
    run_id = file.read_bytes().strip()
    if not re.fullmatch(rb"[0-9a-f]{32}", run_id):
        raise InputError(
            f"{file} holds {shorten(run_id)}, expected the id of an MLflow run: write it there, or delete it"
        )
    return run_id.decode()


def job_records(sweep: Path) -> dict[Path, JobRecord]:
    """Return the records of a sweep's started jobs by folder, in the order of the jobs."""
    folders = [file.parent for file in sweep.rglob(_FILE)]
    records = {folder: record for folder in folders if (record := JobRecord.read(folder))}
    return dict(sorted(records.items(), key=lambda job: (len(job[0].name), job[0].name)))


def job_processes(sweep: Path) -> list[Any]:
    """Return the psutil.Process of each of a sweep's jobs that is running on this machine."""
    return [process for record in job_records(sweep).values() if (process := record.process())]


def refuse_sweep(run: Path) -> None:
    """Refuse the folder of a sweep, or of a job without a run, when a run's folder is expected.

    Raises:
        InputError: naming the sweep's jobs, or how to resume the job.
    """
    jobs = job_records(run) if (run / SWEEP).is_file() else {}
    if jobs:
        raise InputError(f"{run} is a sweep: give one of its jobs, {', '.join(str(job) for job in jobs)}")
    record = JobRecord.read(run)
    if record is not None and record.status != FINISHED and not (run / "config.yaml").is_file():
        raise InputError(
            f"{run} is an unfinished job: continue with {command_line('train', override('resume', run.parent))}"
        )
