"""Experiment tracking: parameters, metrics and files of a run, with or without MLflow.

`Tracking` is a run without MLflow, `MlflowTracking` one with it. Both pass metrics to Lightning's loggers. A resumed
run continues under the id saved in its folder, if MLflow still has that run.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from reasonir.errors import InputError
from reasonir.runs.folder import folder_of_id
from reasonir.runs.outcome import read_run_id, refuse_sweep
from reasonir.tracking import outbox
from reasonir.tracking.database import FOLDER_TAG, blocked, client_of, database_of, unavailable
from reasonir.tracking.lightning import close, log_dataset, log_description, log_file, log_table
from reasonir.utils.files import atomic_path, is_partial
from reasonir.utils.ranges import Validated
from reasonir.utils.table import Table

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger

log = logging.getLogger(__name__)

PARENT_TAG, NOTE_TAG, ERROR_TAG, KIND_TAG = "mlflow.parentRunId", "mlflow.note.content", "error", "kind"
RUN, SWEEP = "run", "sweep"
"""Values of the tag `kind`."""
LOGGER_ID = "logger_id"
"""File of the id that loggers other than MLflow know the run by."""
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(slots=True)
class Loggers(Validated):
    """Destinations of a run's metrics (config group `logger`).

    Attributes:
        mlflow: log to MLflow's database under home, with parameters, artifacts and models.
        csv: write metrics.csv in the run's folder.
        lightning: factories of further Lightning loggers by name; one that takes `save_dir` gets the run's folder, and
            one that takes `id` one of that folder's own, under which a resumed run goes on.
    """

    mlflow: bool = False
    csv: bool = True
    lightning: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    _opened: dict[Path, list[Logger]] = field(default_factory=dict, init=False, repr=False)

    def open(self, folder: Path) -> list[Logger]:
        """Build the Lightning loggers of a run in `folder`, once: building one may already begin a run elsewhere.

        Raises:
            InputError: the library of a logger isn't installed, or it refuses its options.
        """
        if folder in self._opened:
            return self._opened[folder]
        loggers = []
        for name, factory in self.lightning.items():
            accepted = inspect.signature(factory).parameters
            options = {"save_dir": str(folder)} if "save_dir" in accepted else {}
            if "id" in accepted:
                options["id"] = _logger_id(folder)
            try:
                loggers.append(factory(**options))
            except ImportError as error:
                reason = str(error).splitlines()[0]
                raise InputError(f"logger.lightning.{name}: {reason}: pip install 'reasonir[{name}]'") from error
            except (TypeError, ValueError) as error:
                raise InputError(f"logger.lightning.{name}: {error}") from error
        self._opened[folder] = loggers
        return loggers


class Tracking:
    """Run without MLflow: everything goes to Lightning's loggers as far as they take it, files stay in its folder.

    Args:
        lightning: Lightning's loggers.
        folder: of this command's output.
    """

    run_id: str | None = None
    artifact_folder: str = ""
    """Subfolder of the run's artifacts for this command's files: a run may be evaluated several times."""

    def __init__(self, lightning: Sequence[Logger] = (), folder: Path = Path()) -> None:
        self._lightning = list(lightning)
        self._folder = folder

    def loggers(self) -> list[Logger]:
        """Return the loggers of training metrics, without metrics.csv."""
        return self._lightning

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log the flattened configuration."""
        for logger in self._lightning:
            logger.log_hyperparams(dict(values))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log the metrics of a step."""
        for logger in self._lightning:
            logger.log_metrics(dict(values), step)

    def describe(self, text: str) -> None:
        """Set the run's description, in Markdown."""
        for logger in self._lightning:
            log_description(logger, text)

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Log a dataset used for training or evaluation."""
        for logger in self._lightning:
            log_dataset(logger, name, {"digest": digest, "source": source, "context": context})

    def table(self, name: str, table: Table) -> None:
        """Log a table; MLflow has those of a run in its description and files."""
        for logger in self._lightning:
            log_table(logger, name, table)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or a folder's contents, of this command's folder."""
        for logger in self._lightning:
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file() and not is_partial(file):
                    log_file(logger, file, self._folder)

    def model(self, run: Path, name: str, metric: float | None, content: str) -> None:
        """Register the exported model in a run's folder, with its best development metric and what that was taken on.

        Args:
            run: the folder.
            name: of the registered model.
            metric: None without development queries.
            content: digest of the development task.
        """

    def view(self, headline: str) -> None:
        """Save a view of all runs with their headline metric, and log its URL."""

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        for logger in self._lightning:
            close(logger, finished=status == "FINISHED")

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close the run after the block: finished, or killed or failed if the block raised."""
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            self.end(status)


def _logger_id(folder: Path) -> str:
    """Return the id under which loggers know a run's folder, made with the first."""
    file = folder / LOGGER_ID
    if not file.is_file():
        with atomic_path(file) as partial:
            partial.write_text(uuid4().hex[:8])
    return file.read_text().strip()


def resumable_run_id(home: Path, folder: Path) -> str | None:
    """Return the MLflow id saved in a run's folder, None if there is none or MLflow no longer has the run."""
    run_id = saved_run_id(folder)
    return existing_run_id(home, run_id, folder) if run_id else None


def saved_run_id(folder: Path) -> str | None:
    """Return the MLflow id saved in a folder, None without one.

    Raises:
        InputError: the file holds something else.
    """
    return read_run_id(folder)


def existing_run_id(home: Path, run_id: str, folder: Path) -> str | None:
    """Return a run's id, or None, with a warning, if MLflow has no such run or it was deleted there."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if blocked(home, outbox.PATIENCE):
        return run_id  # checked again when a call is delivered
    try:
        deleted = client_of(home).get_run(run_id).info.lifecycle_stage == "deleted"
    except (MlflowException, SQLAlchemyError) as error:
        if unavailable(error):
            return run_id
        if getattr(error, "error_code", "") not in _UNKNOWN:
            raise
        log.warning("%s has no run %s of %s: a new run continues it", database_of(home), run_id, folder)
        return None
    if deleted:
        log.warning("Run %s of %s was deleted in MLflow: a new run continues it", run_id, folder)
    return None if deleted else run_id


def folder_of_run(run: str, home: Path) -> Path:
    """Return the folder of a tracked run, given its folder or MLflow id.

    Raises:
        InputError: there is no such run, or its folder doesn't exist any more.
    """
    path = Path(run).expanduser()
    if path.is_dir():
        refuse_sweep(path)
        return path
    database = database_of(home)
    if not database.is_file():
        raise InputError(f"run={run} is no folder, and no MLflow id: {home} has no mlflow.db: check it")
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        tracked = client_of(home).get_run(run)
    except (MlflowException, SQLAlchemyError) as error:
        if getattr(error, "error_code", "") not in _UNKNOWN:
            raise InputError(
                f"run={run} is no folder, and {database} can't be read ({str(error).splitlines()[0]}): "
                "give the run's folder, or try again"
            ) from error
        raise InputError(f"run={run} is neither a folder nor the id of a run in {database}") from error
    folder = Path(tracked.data.tags.get(FOLDER_TAG, ""))
    if folder.is_dir():
        return folder
    try:
        return folder_of_id(run, home)  # it was renamed
    except InputError:
        raise InputError(
            f"run={run} was made in {folder}, which doesn't exist any more: give run=<its new folder>"
        ) from None
