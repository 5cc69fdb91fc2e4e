"""A sweep in MLflow: the parent run over its jobs, and the jobs that couldn't mark themselves as failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from reasonir.training.database import client_of, refuse_unusable
from reasonir.training.outcome import Outcome
from reasonir.training.tracking import ERROR_TAG, NOTE_TAG, SWEEP, new_run


def open_sweep(home: Path, known: str | None, *, project: str, name: str, folder: Path, tags: Mapping[str, str]) -> str:
    """The id of a sweep's parent run: a new one, or the `known` one of a sweep that goes on, running again.

    Raises:
        InputError: the database can't be used.
    """
    refuse_unusable("mlflow", home, project)
    client = client_of(home)
    if known is None:
        return new_run(client, home, project=project, name=name, folder=folder, tags=tags, kind=SWEEP)
    client.update_run(known, status="RUNNING")
    return known


def close_sweep(home: Path, parent: str, status: str, files: Iterable[Path], text: str) -> None:
    """End a sweep's parent run, its summary kept as artifacts and shown as its description."""
    client = client_of(home)
    for file in files:
        client.log_artifact(parent, str(file))
    client.set_tag(parent, NOTE_TAG, text)
    client.set_terminated(parent, status)


def mark_failed(home: Path, folder: Path, outcome: Outcome, *, parent: str, name: str) -> str:
    """End a job's run as failed or killed, with its error; one that never came to have a run gets it now.

    Returns:
        The run's id.
    """
    client = client_of(home)
    run_id = outcome.run_id
    if run_id is None:
        above = client.get_experiment(client.get_run(parent).info.experiment_id)
        run_id = new_run(client, home, project=above.name, name=name, folder=folder, tags={}, parent=parent)
    client.set_tag(run_id, ERROR_TAG, outcome.error)
    client.set_tag(run_id, NOTE_TAG, f"**{outcome.status.lower()}**: {outcome.error}")
    client.set_terminated(run_id, outcome.status)
    return run_id
