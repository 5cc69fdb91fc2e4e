"""Hydra callback of a sweep: parent run in MLflow, failed jobs, graceful stop and summary.

Hydra calls `Sweep` before the first job and after each one; `closing_sweep` wraps the command and ends the sweep
however it exits. The sweep's folder holds sweep.json (command and parent id), a folder per job, and summary.csv, .md
and .png. Nothing heavy is imported before a sweep starts.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from reasonir.runs.lock import lock_folder, refuse_locked
from reasonir.runs.outcome import FAILED, FINISHED, KILLED, JobRecord, job_processes, job_records
from reasonir.runs.overrides import overrides_of
from reasonir.runs.plain_values import plain_values
from reasonir.runs.secrets import mask
from reasonir.sweep.jobs import STOPPING, JobError, SweepRecord, present_sweep
from reasonir.utils.command_line import command_line, override
from reasonir.utils.signals import handling

if TYPE_CHECKING:
    from reasonir.tracking.mlflow import MlflowTracking

log = logging.getLogger(__name__)


class UnopenedSweep(BaseException):
    """Failure to start a sweep; a BaseException, since Hydra turns exceptions of callbacks into warnings.

    Args:
        error: the cause.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Sweep(Callback):
    """Lock of a sweep's folder, its parent run, and the status of its failed jobs."""

    opened: ClassVar[Sweep | None] = None

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: launchers copy callbacks to their processes, which only mark failed jobs."""
        return {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Lock the folder, write sweep.json and open the parent run; a resumed sweep keeps its own."""
        if config.dry_run or config.probe:
            return
        self.folder = Path(config.hydra.sweep.dir)
        self.home, self.experiment_name = Path(config.home), config.experiment_name
        self.tracking: MlflowTracking | None = None
        try:
            with ExitStack() as lock:
                lock.enter_context(lock_folder(self.folder))
                for job in job_records(self.folder):
                    refuse_locked(job)
                self._open(config)
                self._lock = lock.pop_all()
        except Exception as error:
            raise UnopenedSweep(error) from None
        (self.folder / STOPPING).unlink(missing_ok=True)
        self._stopping = False
        self._handlers = ExitStack()
        self._handlers.enter_context(handling(self._stop))
        Sweep.opened = self

    def _open(self, config: DictConfig) -> None:
        overrides = overrides_of(config.hydra)
        self.record = SweepRecord.read(self.folder) or SweepRecord(sys.argv[1:], overrides)
        if config.logger.mlflow:
            from reasonir.tracking.sweep_runs import open_sweep

            self.tracking = open_sweep(
                self.home,
                self.record.parent,
                experiment_name=self.experiment_name,
                name="sweep " + " ".join(overrides),
                folder=self.folder,
                tags={key: str(value) for key, value in plain_values(config.tags).items()},
            )
            self.record = replace(self.record, parent=self.tracking.run_id)
        self.record.write(self.folder)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Mark a failed job in its folder and in MLflow, with its error; called in the process that ran the job."""
        sweep = present_sweep()
        if sweep is None or job_return.status != JobStatus.FAILED:
            return
        folder = Path(config.hydra.runtime.output_dir)
        record = JobRecord.read(folder)
        if record is None and (Path(config.hydra.sweep.dir) / STOPPING).exists():
            return
        if record is None or record.status not in (FAILED, KILLED):  # refused before it started
            record = JobRecord(overrides_of(config.hydra)).ended(folder, FAILED, _error(job_return))
        log.error("Job %s %s: %s", folder.name, record.status.lower(), record.error)
        _mark(sweep, Path(config.home), config.experiment_name, folder, record)

    def _stop(self, number: int, _: FrameType | None) -> None:
        """Let the running jobs write their checkpoints, then exit; a second signal ends them at once."""
        (self.folder / STOPPING).touch()
        stopped = _terminate(job_processes(self.folder))
        if self._stopping:
            return
        self._stopping = True
        name = signal.Signals(number).name
        log.warning("%s: %d jobs stop after their current step with a checkpoint", name, len(stopped))
        while running := job_processes(self.folder):
            stopped |= _terminate(process for process in running if process.pid not in stopped)  # just started
            time.sleep(0.1)
        raise SystemExit(128 + number)

    def end(self, status: str) -> int:
        """Write the summary and close the parent run; return the number of jobs that didn't finish."""
        self._handlers.close()
        with self._lock:
            return self._summarise(status)

    def _summarise(self, status: str) -> int:
        from reasonir.sweep.summary import summarise

        jobs = self.jobs()
        unfinished = [folder for folder, job in jobs.items() if job.status != FINISHED]
        summary = summarise(self.record, jobs, self.folder)
        if self.tracking is not None:
            from reasonir.tracking.sweep_runs import close_sweep

            ended = status if status != FINISHED or not unfinished else FAILED
            keys = list(dict.fromkeys(key for job in jobs.values() for key in self.record.chosen(job.overrides)))
            close_sweep(self.tracking, ended, summary.files, summary.text, keys=keys, metric=summary.metric)
        started = "started " if status == KILLED else ""
        finished = f"{len(jobs) - len(unfinished)} of {len(jobs)} {started}jobs finished"
        log.info("%s; everything is in %s", finished, self.folder)
        if jobs and (unfinished or status != FINISHED):
            log.warning("Continue with: %s", command_line("train", override("resume", self.folder)))
        return len(unfinished)

    def jobs(self) -> dict[Path, JobRecord]:
        """Return the records of all started jobs, in order; jobs without a process are marked as killed."""
        for folder, record in job_records(self.folder).items():
            if record.is_lost(folder):
                killed = record.ended(folder, KILLED, "killed with the sweep")
                _mark(self.record, self.home, self.experiment_name, folder, killed)
        return job_records(self.folder)


def _terminate(processes: Iterable[Any]) -> set[int]:
    """Send SIGTERM to processes; return their ids."""
    import psutil

    pids = set()
    for process in processes:
        pids.add(process.pid)
        with suppress(psutil.Error):
            process.terminate()
    return pids


def _mark(sweep: SweepRecord, home: Path, experiment_name: str, folder: Path, record: JobRecord) -> None:
    """Record a job that didn't finish, in MLflow and in its folder."""
    if sweep.parent is not None:
        from reasonir.tracking.sweep_runs import mark_failed

        name = sweep.title(record.overrides)
        run_id = mark_failed(home, folder, record, parent=sweep.parent, experiment_name=experiment_name, name=name)
        record = replace(record, run_id=run_id)
    record.write(folder)


def _error(job_return: JobReturn) -> str:
    try:
        return mask(str(job_return.return_value))
    except Exception as error:
        return mask(str(error))


@contextmanager
def closing_sweep() -> Iterator[None]:
    """End the sweep that the block may have started: summarise it and mark it as finished, failed or killed.

    Raises:
        InputError: another process is running this sweep, or MLflow can't be used.
        SystemExit: with status 1, if jobs failed.
    """
    Sweep.opened = None
    status = FINISHED
    try:
        yield
    except UnopenedSweep as unopened:
        raise unopened.error from None
    except (KeyboardInterrupt, SystemExit):
        status = KILLED
        raise
    except JobError:
        status = FAILED
        if Sweep.opened is None:
            raise
    except BaseException:
        status = FAILED
        raise
    finally:
        unfinished = Sweep.opened.end(status) if Sweep.opened is not None else 0
        Sweep.opened = None
    if unfinished:
        raise SystemExit(1)
