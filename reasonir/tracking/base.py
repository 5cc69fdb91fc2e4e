"""Tracked runs: what a run was, what it did and what came out, in MLflow or only in the run's folder.

`Tracking` is the null object: a run without MLflow writes its folder and nothing else. `MlflowTracking` is the other
one. A resumed run continues under its id, which its folder notes, as long as MLflow has a run of that id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from reasonir.errors import InputError
from reasonir.runs.outcome import refuse_sweep
from reasonir.tracking import outbox
from reasonir.tracking.database import blocked, client_of, database_of, unavailable

log = logging.getLogger(__name__)

RUN_ID = "run_id"
"""The file of a folder that has the id of its run in MLflow."""
FOLDER_TAG = "reasonir.folder"
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class Tracking:
    """A run that is kept in its folder only."""

    run_id: str | None = None
    place: str = ""
    """Where this command's files go among the run's artifacts: a run is evaluated more than once."""

    def loggers(self) -> list[Logger]:
        """What Lightning's numbers go to, besides the run's own history."""
        return []

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Note the flattened configuration."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Note numbers."""

    def describe(self, text: str) -> None:
        """Say in Markdown what the run came to."""

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Note data that was used for training or evaluation."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file, or a folder's contents."""

    def model(self, run: Path, name: str, metric: float | None) -> None:
        """Register the exported model of a run's folder, with its best development metric."""

    def view(self, headline: str) -> None:
        """Save a view of all runs with their headline metric, and log its address."""

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""

    @contextmanager
    def closing(self) -> Iterator[None]:
        """The block's work; the run is then finished, or killed or failed by what the block raised."""
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            self.end(status)


def open_tracking(
    logger: str,
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
    """The tracking that `logger` names.

    Args:
        logger: mlflow, csv or none.
        home: MLflow's database and the folder mlartifacts are under it.
        experiment_name: the MLflow experiment.
        name: of the run.
        folder: of this command's output.
        tags: shown in MLflow's interface.
        run: the folder that is found by the run's id, where it isn't `folder`.
        run_id: an earlier run to continue.
        resumed_at: the step that it continues from.
        parent: the sweep whose child a new run is.
    """
    if logger != "mlflow":
        return Tracking()
    from reasonir.tracking.mlflow import MlflowTracking

    tracking = MlflowTracking(home, folder, run_id)
    if resumed_at is not None:
        tracking.rewind(resumed_at)
    tracking.open(experiment_name=experiment_name, name=name, run=run or folder, tags=tags, parent=parent)
    return tracking


def known_run(logger: str, home: Path, folder: Path) -> str | None:
    """The id that a run's folder notes, if that run can be continued in MLflow; a line says so where it can't."""
    known = noted_id(folder)
    return continued(home, known, folder) if logger == "mlflow" and known else None


def noted_id(folder: Path) -> str | None:
    """The id that a folder notes of its run in MLflow."""
    file = folder / RUN_ID
    return file.read_text() if file.is_file() else None


def continued(home: Path, run_id: str, folder: Path) -> str | None:
    """A run's id, or None if MLflow has no such run or it was deleted there; a line says so."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if blocked(home, outbox.PATIENCE):
        return run_id  # looked up again when something is delivered
    try:
        deleted = client_of(home).get_run(run_id).info.lifecycle_stage == "deleted"
    except (MlflowException, SQLAlchemyError) as error:
        if unavailable(error):
            return run_id
        if getattr(error, "error_code", "") not in _UNKNOWN:
            raise
        log.warning("%s has no run %s, which %s notes: a new run continues it", database_of(home), run_id, folder)
        return None
    if deleted:
        log.warning("The run %s of %s was deleted in MLflow: a new run continues it", run_id, folder)
    return None if deleted else run_id


def folder_of_run(run: str, home: Path) -> Path:
    """The folder of a tracked run, named by its folder or MLflow id.

    Raises:
        InputError: there is no such run, or its folder is gone.
    """
    path = Path(run).expanduser()
    if path.is_dir():
        refuse_sweep(path)
        return path
    database = database_of(home)
    if not database.is_file():
        raise InputError(f"run={run} is no folder, and {home} has no mlflow.db that could know the id: check it")
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        found = client_of(home).get_run(run)
    except (MlflowException, SQLAlchemyError) as error:
        if getattr(error, "error_code", "") not in _UNKNOWN:
            raise InputError(
                f"run={run} is no folder, and {database} can't be read ({str(error).splitlines()[0]}): "
                "give the run's folder, or try again"
            ) from error
        raise InputError(f"run={run} is neither a folder nor the id of a run in {database}") from error
    folder = Path(found.data.tags.get(FOLDER_TAG, ""))
    if not folder.is_dir():
        raise InputError(f"run={run} was made in {folder}, which is gone: give run=<its folder> where it is now")
    return folder
