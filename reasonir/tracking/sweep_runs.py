"""Sweeps in MLflow: the parent run of the jobs, and the status of jobs that couldn't record it themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reasonir.runs.outcome import JobRecord
from reasonir.tracking import outbox
from reasonir.tracking.base import ERROR_TAG, SWEEP, existing_run_id
from reasonir.tracking.database import refuse_unusable
from reasonir.tracking.mlflow import MlflowTracking, close_abandoned


def open_sweep(
    home: Path, run_id: str | None, *, experiment_name: str, name: str, folder: Path, tags: Mapping[str, str]
) -> MlflowTracking:
    """Open a sweep's parent run: a new one, or the run `run_id` of a resumed sweep.

    Raises:
        InputError: the database can't be used, or stays locked: the jobs' runs need the parent's id.
    """
    refuse_unusable(home, experiment_name, patience=outbox.LAST_PATIENCE)
    close_abandoned(home)
    tracking = MlflowTracking(home, folder, existing_run_id(home, run_id, folder) if run_id else None)
    tracking.open(experiment_name=experiment_name, name=name, run=folder, tags=tags, kind=SWEEP)
    return tracking


def close_sweep(
    tracking: MlflowTracking, status: str, files: Iterable[Path], text: str, *, keys: Sequence[str], metric: str
) -> None:
    """End a sweep's parent run, with its summary as artifacts and description, and a view of its jobs."""
    for file in files:
        tracking.artifact(file)
    tracking.describe(text)
    tracking.sweep_view(keys, metric)
    tracking.end(status)


def mark_failed(
    home: Path, folder: Path, record: JobRecord, *, parent: str, experiment_name: str, name: str
) -> str | None:
    """End a job's run as failed or killed, with its error; create the run if the job has none.

    Returns:
        The run's id, None if MLflow can't be reached.
    """
    tracking = MlflowTracking(home, folder, record.run_id)
    if record.run_id is None:
        tracking.open(experiment_name=experiment_name, name=name, run=folder, tags={}, parent=parent)
    tracking.tag(ERROR_TAG, record.error)
    tracking.describe(f"**{record.status.lower()}**: {record.error}")
    tracking.end(record.status)
    return tracking.run_id
