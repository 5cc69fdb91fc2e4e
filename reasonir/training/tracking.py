"""Tracked runs: what a run was, what it did and what came out, in MLflow or only in the run's folder.

`Tracking` is the null object: a run without MLflow writes its folder and nothing else. MLflow's database lies under
the home folder with the artifacts beside it; a resumed run continues under its old id.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from reasonir.errors import InputError
from reasonir.training.database import address_of, artifacts_of, client_of, database_of, exclusively
from reasonir.training.outcome import refuse_sweep

log = logging.getLogger(__name__)

LOGGERS = ("mlflow", "csv", "none")
PARENT_TAG, NOTE_TAG, ERROR_TAG, KIND_TAG = "mlflow.parentRunId", "mlflow.note.content", "error", "kind"
RUN, SWEEP = "run", "sweep"
"""What a run in MLflow can be, by its tag `kind`."""
_EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow's interface takes an experiment for one about agents."""
_FOLDER_TAG = "reasonir.folder"
_LONGEST_PARAMETER = 6000
_UNNAMEABLE = re.compile(r"[^\w\-. :/]")
"""What MLflow takes in no metric's name, and a collection's folder may have in its name."""


class Tracking:
    """A run that is kept in its folder only."""

    run_id: str | None = None
    place: str = ""
    """Where among the run's artifacts this work's lie: a run is judged more than once."""

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

    def exclusively(self) -> AbstractContextManager[Any]:
        """A block in which no other process on this database is: what is looked for and then made there."""
        return nullcontext()

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


class MlflowTracking(Tracking):
    """A run in MLflow.

    Args:
        home: the database mlflow.db and the folder mlartifacts lie here.
        project: the MLflow experiment.
        name: of the run.
        folder: of the run, found again by its id.
        tags: shown in the interface.
        run_id: an earlier run to continue.
        parent: the sweep whose child a new run is.
    """

    def __init__(
        self,
        home: Path,
        *,
        project: str,
        name: str,
        folder: Path,
        tags: Mapping[str, str],
        run_id: str | None = None,
        parent: str | None = None,
    ) -> None:
        import mlflow

        self._home = home
        self._client = client_of(home)
        mlflow.set_tracking_uri(address_of(home))
        if run_id is None:
            run_id = new_run(self._client, home, project=project, name=name, folder=folder, tags=tags, parent=parent)
        self.run_id = run_id
        self._open = mlflow.start_run(run_id=run_id)
        self._end = mlflow.end_run
        self._system: Any = None

    def loggers(self) -> list[Logger]:
        """One that writes to this run."""
        return [_Metrics(self)]

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Note those that aren't noted yet: a resumed run keeps what it was started with."""
        assert self.run_id is not None
        from mlflow.entities import Param

        known = self._client.get_run(self.run_id).data.params
        fresh = [Param(key, str(value)[:_LONGEST_PARAMETER]) for key, value in values.items() if key not in known]
        for start in range(0, len(fresh), 100):
            self._client.log_batch(self.run_id, params=fresh[start : start + 100])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Note numbers at a step, in one request.

        The system's are noted from then on only: MLflow's comparison begins with the metric that a run noted first.
        """
        assert self.run_id is not None
        from time import time

        from mlflow.entities import Metric

        now = int(time() * 1000)
        noted = [Metric(_UNNAMEABLE.sub("_", key), value, now, step) for key, value in values.items()]
        self._client.log_batch(self.run_id, metrics=noted)
        if self._system is None:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._system = SystemMetricsMonitor(self.run_id, resume_logging=True)
            self._system.start()

    def describe(self, text: str) -> None:
        """Show Markdown above the run's figures."""
        self._client.set_tag(self.run_id, NOTE_TAG, text)

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Note a dataset by name, digest and place."""
        assert self.run_id is not None
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=name, digest=digest[:36], source_type="local", source=source)
        tags = [InputTag("mlflow.data.context", context)]
        with self.exclusively():
            self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file or a folder's contents into the run's artifacts."""
        assert self.run_id is not None
        under = "/".join(part for part in (self.place, folder) if part) or None
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), under)
        else:
            self._client.log_artifact(self.run_id, str(path), under)

    def exclusively(self) -> AbstractContextManager[Any]:
        """The only block of its kind on this database at a time."""
        return exclusively(self._home)

    def end(self, status: str) -> None:
        """Close the run; its system metrics stop."""
        if self._system is not None:
            self._system.finish()
        self._end(status=status)


class _Metrics(Logger):
    """Lightning's view of a tracked run: numbers only."""

    def __init__(self, tracking: Tracking) -> None:
        super().__init__()
        self._tracking = tracking

    @property
    def name(self) -> str:
        return "mlflow"

    @property
    def version(self) -> str:
        return self._tracking.run_id or ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._tracking.metrics({name: value for name, value in metrics.items() if name != "epoch"}, step or 0)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is noted as a whole."""


def open_tracking(
    logger: str,
    home: Path,
    *,
    project: str,
    name: str,
    folder: Path,
    tags: Mapping[str, str],
    run_id: str | None = None,
    parent: str | None = None,
) -> Tracking:
    """The tracking that `logger` names (see `MlflowTracking` for the arguments)."""
    if logger != "mlflow":
        return Tracking()
    return MlflowTracking(home, project=project, name=name, folder=folder, tags=tags, run_id=run_id, parent=parent)


def new_run(
    client: Any,
    home: Path,
    *,
    project: str,
    name: str,
    folder: Path,
    tags: Mapping[str, str],
    parent: str | None = None,
    kind: str = RUN,
) -> str:
    """The id of a run made now (see `MlflowTracking` for the arguments)."""
    above = {PARENT_TAG: parent} if parent else {}
    all_tags = {KIND_TAG: kind, **tags, _FOLDER_TAG: str(folder.resolve()), **above}
    return str(client.create_run(_experiment(client, project, home), run_name=name, tags=all_tags).info.run_id)


def folder_of_run(run: str, home: Path) -> Path:
    """The folder of a tracked run, named by its folder or MLflow id.

    Raises:
        InputError: there is no such run, or its folder is gone.
    """
    path = Path(run).expanduser()
    if path.is_dir():
        refuse_sweep(path)
        return path
    if not database_of(home).is_file():
        raise InputError(f"run={run} is no folder, and {home} has no mlflow.db that could know the id: check it")
    from mlflow.exceptions import MlflowException

    try:
        found = client_of(home).get_run(run)
    except MlflowException as error:
        raise InputError(f"run={run} is neither a folder nor the id of a run in {database_of(home)}") from error
    folder = Path(found.data.tags.get(_FOLDER_TAG, ""))
    if not folder.is_dir():
        raise InputError(f"run={run} was made in {folder}, which is gone: give run=<its folder> where it is now")
    return folder


def _experiment(client: Any, name: str, home: Path) -> str:
    with exclusively(home):
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = artifacts_of(home)
        return str(client.create_experiment(name, artifact_location=place, tags=_EXPERIMENT_KIND))
