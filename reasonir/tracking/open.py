"""The tracking of a command, by its loggers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reasonir.tracking.base import Loggers, Tracking
from reasonir.tracking.mlflow import MlflowTracking


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
    resumed_at: int | None = None,
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
        run: folder that the run's id leads to, None for `folder`.
        run_id: an earlier run to continue.
        resumed_at: the optimiser step that it continues from.
        parent: MLflow id of the sweep, for a new run of one.
    """
    lightning = loggers.open(folder)
    if not loggers.mlflow:
        return Tracking(lightning)
    tracking = MlflowTracking(home, folder, run_id, lightning=lightning)
    if resumed_at is not None:
        tracking.rewind(resumed_at)
    tracking.open(experiment_name=experiment_name, name=name, run=run or folder, tags=tags, parent=parent)
    return tracking
