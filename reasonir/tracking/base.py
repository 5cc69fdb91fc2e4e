"""Tracked runs: parameters, metrics and files of a run, in MLflow, in Lightning's loggers, or only in its folder.

`Tracking` is a run without MLflow; `MlflowTracking` is the other one. Both pass numbers to Lightning's loggers. A
resumed run continues under its id, which its folder notes, as long as MLflow has a run of that id.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reasonir.errors import InputError
from reasonir.runs.outcome import RUN_ID, refuse_sweep
from reasonir.tracking import outbox
from reasonir.tracking.database import blocked, client_of, database_of, unavailable

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger

log = logging.getLogger(__name__)

FOLDER_TAG = "reasonir.folder"
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True, slots=True)
class Loggers:
    """Destinations of a run's metrics: the group `logger`.

    Attributes:
        mlflow: MLflow's database under home, with parameters, artifacts and models.
        csv: metrics.csv in the run's folder.
        lightning: factories of further Lightning loggers, by name; one that takes `save_dir` gets the run's folder.
    """

    mlflow: bool = False
    csv: bool = True
    lightning: Mapping[str, Callable[..., Logger]] = field(default_factory=dict)

    def open(self, folder: Path) -> list[Logger]:
        """The further loggers of a run in `folder`.

        Raises:
            InputError: the library of one isn't installed, or it refuses its options.
        """
        opened = []
        for name, factory in self.lightning.items():
            given = {"save_dir": str(folder)} if "save_dir" in inspect.signature(factory).parameters else {}
            try:
                opened.append(factory(**given))
            except (ImportError, TypeError, ValueError) as error:
                raise InputError(f"logger.lightning.{name}: {error}") from error
        return opened


class Tracking:
    """A run that is kept in its folder, and in Lightning's loggers where there are any.

    Args:
        lightning: Lightning's loggers.
    """

    run_id: str | None = None
    place: str = ""
    """Subfolder of the run's artifacts that this command's files go to: a run is evaluated more than once."""

    def __init__(self, lightning: Sequence[Logger] = ()) -> None:
        self._lightning = list(lightning)

    def loggers(self) -> list[Logger]:
        """Destinations of the numbers that are logged while training, besides metrics.csv."""
        return self._lightning

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log the flattened configuration."""
        for logger in self._lightning:
            logger.log_hyperparams(dict(values))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers."""
        for logger in self._lightning:
            logger.log_metrics(dict(values), step)

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
        for logger in self._lightning:
            logger.finalize("success" if status == "FINISHED" else "failed")

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
    """The tracking of a run that is logged to `loggers`.

    Args:
        loggers: destinations.
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
    lightning = loggers.open(folder)
    if not loggers.mlflow:
        return Tracking(lightning)
    from reasonir.tracking.mlflow import MlflowTracking

    tracking = MlflowTracking(home, folder, run_id, lightning=lightning)
    if resumed_at is not None:
        tracking.rewind(resumed_at)
    tracking.open(experiment_name=experiment_name, name=name, run=run or folder, tags=tags, parent=parent)
    return tracking


def known_run(home: Path, folder: Path) -> str | None:
    """The id that a run's folder notes, if that run can be continued in MLflow; a line says so where it can't."""
    known = noted_id(folder)
    return continued(home, known, folder) if known else None


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
