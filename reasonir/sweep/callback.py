"""A sweep as one thing: its parent run in MLflow, what its jobs are called, how it ended and how it goes on.

Hydra calls `Sweep` before the first job and after each; `closing_sweep` around the command sees every other end. The
sweep's folder holds sweep.json (the command and the parent's id), a folder a job, and summary.csv, .md and .png.
Nothing heavy is imported before a sweep begins.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
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
from reasonir.runs.outcome import FAILED, FINISHED, KILLED, JobRecord, job_processes, job_records, overrides_of
from reasonir.sweep.jobs import STOPPING, JobError, SweepRecord, present_sweep

if TYPE_CHECKING:
    from reasonir.tracking.mlflow import MlflowTracking

log = logging.getLogger(__name__)


class UnopenedSweep(BaseException):
    """A sweep couldn't begin; a BaseException, since Hydra turns the exceptions of callbacks into warnings.

    Args:
        error: why.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Sweep(Callback):
    """Locks a sweep's folder and opens its parent run before any job, and notes failed jobs."""

    opened: ClassVar[Sweep | None] = None

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: launchers copy callbacks to their processes, where failed jobs are noted."""
        return {}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the sweep in its folder and in MLflow; one that goes on keeps what it noted first."""
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
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        Sweep.opened = self

    def _open(self, config: DictConfig) -> None:
        overrides = overrides_of(config.hydra)
        self.swept = SweepRecord.read(self.folder) or SweepRecord(sys.argv[1:], overrides)
        if config.logger.mlflow:
            from reasonir.tracking.sweep_runs import open_sweep

            self.tracking = open_sweep(
                self.home,
                self.swept.parent,
                experiment_name=self.experiment_name,
                name="sweep " + " ".join(overrides),
                folder=self.folder,
                tags={key: str(value) for key, value in config.tags.items()},
            )
            self.swept = replace(self.swept, parent=self.tracking.run_id)
        self.swept.write(self.folder)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Mark what failed, in the job's folder and in MLflow, with its error (in the process that ran the job)."""
        swept = present_sweep()
        if swept is None or job_return.status != JobStatus.FAILED:
            return
        folder = Path(config.hydra.runtime.output_dir)
        outcome = JobRecord.read(folder)
        if outcome is None and (Path(config.hydra.sweep.dir) / STOPPING).exists():
            return
        if outcome is None or outcome.status not in (FAILED, KILLED):  # refused before it began
            outcome = JobRecord(overrides_of(config.hydra), FAILED, error=_error(job_return))
        log.error("Job %s %s: %s", folder.name, outcome.status.lower(), outcome.error)
        _mark(swept, Path(config.home), config.experiment_name, folder, outcome)

    def _stop(self, number: int, _: FrameType | None) -> None:
        """Let the jobs that run write their checkpoints, and end; the signal again ends them at once."""
        (self.folder / STOPPING).touch()
        told = _tell(job_processes(self.folder))
        if self._stopping:
            return
        self._stopping = True
        name = signal.Signals(number).name
        log.warning("%s: %d jobs stop after their present step with a checkpoint", name, len(told))
        while left := job_processes(self.folder):
            told |= _tell(process for process in left if process.pid not in told)  # those that were just beginning
            time.sleep(0.1)
        raise SystemExit(128 + number)

    def end(self, status: str) -> int:
        """Sum the sweep up; the number of jobs that didn't finish."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        with self._lock:
            return self._sum_up(status)

    def _sum_up(self, status: str) -> int:
        from reasonir.sweep.summary import summarise

        jobs = self.jobs()
        lost = [folder for folder, outcome in jobs.items() if outcome.status != FINISHED]
        summary = summarise(self.swept, jobs, self.folder)
        if self.tracking is not None:
            from reasonir.tracking.sweep_runs import close_sweep

            ended = status if status != FINISHED or not lost else FAILED
            keys = list(dict.fromkeys(key for job in jobs.values() for key in self.swept.chosen(job.overrides)))
            close_sweep(self.tracking, ended, summary.files, summary.text, keys=keys, metric=summary.metric)
        begun = "that began " if status == KILLED else ""
        finished = f"{len(jobs) - len(lost)} of {len(jobs)} jobs {begun}finished"
        log.info("%s; everything is in %s", finished, self.folder)
        if jobs and (lost or status != FINISHED):
            log.warning("Go on with: python -m reasonir.train resume=%s", self.folder)
        return len(lost)

    def jobs(self) -> dict[Path, JobRecord]:
        """How each job ended that began, in their order; what still reads as running was killed with the sweep."""
        for folder, outcome in job_records(self.folder).items():
            if outcome.is_lost(folder):
                killed = outcome.ended(folder, KILLED, "killed with the sweep")
                _mark(self.swept, self.home, self.experiment_name, folder, killed)
        return job_records(self.folder)


def _tell(processes: Iterable[Any]) -> set[int]:
    """Send SIGTERM to processes; their numbers."""
    import psutil

    told = set()
    for process in processes:
        told.add(process.pid)
        with suppress(psutil.Error):
            process.terminate()
    return told


def _mark(swept: SweepRecord, home: Path, experiment_name: str, folder: Path, outcome: JobRecord) -> None:
    """Note how a job ended that didn't finish, in MLflow and in its folder."""
    if swept.parent is not None:
        from reasonir.tracking.sweep_runs import mark_failed

        name = swept.title(outcome.overrides)
        run_id = mark_failed(home, folder, outcome, parent=swept.parent, experiment_name=experiment_name, name=name)
        outcome = replace(outcome, run_id=run_id)
    outcome.write(folder)


def _error(job_return: JobReturn) -> str:
    try:
        return str(job_return.return_value)
    except Exception as error:
        return str(error)


@contextmanager
def closing_sweep() -> Iterator[None]:
    """The block may be a sweep; however it ends, the sweep is summed up, and marked as finished, failed or killed.

    Raises:
        InputError: another process runs this sweep, or MLflow can't be used.
        SystemExit: with status 1, jobs failed, which the summary names.
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
        lost = Sweep.opened.end(status) if Sweep.opened is not None else 0
        Sweep.opened = None
    if lost:
        raise SystemExit(1)
