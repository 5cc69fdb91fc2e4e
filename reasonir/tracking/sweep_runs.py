"""A sweep in MLflow: the parent run over its jobs, and the jobs that couldn't mark themselves as failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reasonir.runs.outcome import JobRecord
from reasonir.tracking import outbox
from reasonir.tracking.base import continued
from reasonir.tracking.database import refuse_unusable
from reasonir.tracking.mlflow import ERROR_TAG, SWEEP, MlflowTracking


def open_sweep(
    home: Path, known: str | None, *, experiment_name: str, name: str, folder: Path, tags: Mapping[str, str]
) -> MlflowTracking:
    """A sweep's parent run: a new one, or the `known` one of a sweep that goes on, running again.

    Raises:
        InputError: the database can't be used, or stays locked: the jobs' runs have to name their parent.
    """
    refuse_unusable(home, experiment_name, patience=outbox.LAST_PATIENCE)
    tracking = MlflowTracking(home, folder, continued(home, known, folder) if known else None)
    tracking.open(experiment_name=experiment_name, name=name, run=folder, tags=tags, kind=SWEEP)
    return tracking


def close_sweep(
    tracking: MlflowTracking, status: str, files: Iterable[Path], text: str, *, keys: Sequence[str], metric: str
) -> None:
    """End a sweep's parent run, its summary kept as artifacts and shown as its description, with a view of its jobs."""
    for file in files:
        tracking.artifact(file)
    tracking.describe(text)
    tracking.sweep_view(keys, metric)
    tracking.end(status)


def mark_failed(
    home: Path, folder: Path, outcome: JobRecord, *, parent: str, experiment_name: str, name: str
) -> str | None:
    """End a job's run as failed or killed, with its error; one that never came to have a run gets it now.

    Returns:
        The run's id, None if MLflow can't be reached now.
    """
    tracking = MlflowTracking(home, folder, outcome.run_id)
    if outcome.run_id is None:
        tracking.open(experiment_name=experiment_name, name=name, run=folder, tags={}, parent=parent)
    tracking.tag(ERROR_TAG, outcome.error)
    tracking.describe(f"**{outcome.status.lower()}**: {outcome.error}")
    tracking.end(outcome.status)
    return tracking.run_id
