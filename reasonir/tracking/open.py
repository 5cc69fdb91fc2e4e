"""The tracking of a command, by its loggers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reasonir.runs.lock import locked_folder
from reasonir.tracking.base import Loggers, Tracking
from reasonir.tracking.lightning import log_tags
from reasonir.tracking.mlflow import MlflowTracking, close_abandoned


@contextmanager
def tracked(loggers: Loggers, home: Path, *, folder: Path, **options: Any) -> Iterator[Tracking]:
    """Track the block as a run, and close it as finished, killed or failed (arguments as in `open_tracking`).

    The folder is locked meanwhile, by which later commands know that the run's process hasn't ended. Runs of processes
    that have ended are closed.
    """
    if not loggers.mlflow:
        tracking = open_tracking(loggers, home, folder=folder, **options)
        with tracking.closing():
            yield tracking
        return
    with locked_folder(folder):
        close_abandoned(home)
        tracking = open_tracking(loggers, home, folder=folder, **options)
        with tracking.closing():
            yield tracking


def open_tracking(
    loggers: Loggers,
    home: Path,
    *,
    experiment_name: str,
    name: str,
    folder: Path,
    tags: Mapping[str, str],
    run: Path | None = None,
    run_id: str | None = None,
    resumed_at: int = 0,
    parent: str | None = None,
) -> Tracking:
    """Open the tracking of a run.

    Args:
        loggers: destinations.
        home: root of MLflow's database and the folder mlartifacts.
        experiment_name: the MLflow experiment.
        name: of the run.
        folder: of this command's output.
        tags: shown in MLflow's interface.
        run: folder that the run's id leads to, None for `folder`; a run of another command keeps its status.
        run_id: an earlier run to continue.
        resumed_at: the optimiser step that a run of this folder continues from.
        parent: MLflow id of the sweep, for a new run of one.
    """
    lightning = loggers.open(folder)
    for logger in lightning:
        log_tags(logger, tags)
    if not loggers.mlflow:
        return Tracking(lightning, folder)
    tracking = MlflowTracking(home, folder, run_id, lightning=lightning)
    tracking.open(experiment_name=experiment_name, name=name, run=run or folder, tags=tags, parent=parent)
    if run is None:
        tracking.rewind(resumed_at)
    return tracking
