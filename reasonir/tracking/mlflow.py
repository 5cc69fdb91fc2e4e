"""Run in MLflow: every call goes through the run's `Outbox`, which makes it now or later and never raises.

Each public method of `MlflowTracking` sends a call; the private method of the same name makes it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from reasonir.errors import InputError
from reasonir.runs.lock import is_abandoned, lock_folder
from reasonir.runs.outcome import FINISHED, KILLED, RUN_ID, RUNNING
from reasonir.tracking import outbox
from reasonir.tracking.base import (
    ERROR_TAG,
    KIND_TAG,
    NOTE_TAG,
    PARENT_TAG,
    RUN,
    Tracking,
    existing_run_id,
    saved_run_id,
)
from reasonir.tracking.database import (
    FOLDER_TAG,
    address_of,
    artifacts_of,
    blocked,
    client_of,
    database_of,
    exclusively,
)
from reasonir.tracking.outbox import OPEN, UNDELIVERED, Call, Outbox
from reasonir.tracking.records import OUTPUT_TAG, delete_curves, delete_results, open_runs, run_of_output
from reasonir.utils.command_line import command_line, override
from reasonir.utils.files import atomic_path, is_partial

log = logging.getLogger(__name__)

_EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without this tag MLflow's interface shows the experiment as one about agents."""
_LONGEST_PARAMETER = 6000
_INVALID_IN_METRIC = re.compile(r"[^\w\-. :/]")
"""Characters that MLflow refuses in a metric's name; a collection's folder may have them in its name."""


class MlflowTracking(Tracking):
    """Run in MLflow.

    Args:
        home: root of MLflow's database and the folder mlartifacts.
        folder: of this command's output; stores the run's id and the undelivered calls.
        run_id: of the run, if it exists.
        lightning: further loggers of metrics.
    """

    def __init__(
        self, home: Path, folder: Path, run_id: str | None = None, *, lightning: Sequence[Logger] = ()
    ) -> None:
        super().__init__(lightning, folder)
        self.run_id = run_id
        self._home = home
        self._outbox = Outbox(home, folder, self._make)
        self._system: Any = None
        self._watches = True
        self._ends = True
        """Whether this command closes the run; another one's run keeps its status."""
        self._calls: dict[str, Callable[..., Call | None]] = {
            OPEN: self._open,
            "parameters": self._parameters,
            "rewind": self._rewind,
            "metrics": self._metrics,
            "tag": self._tag,
            "dataset": self._dataset,
            "artifact": self._artifact,
            "model": self._model,
            "version": self._version,
            "view": self._view,
            "sweep_view": self._sweep_view,
            "end": self._end,
        }

    @property
    def undelivered(self) -> int:
        """Number of undelivered calls."""
        return len(self._outbox.calls)

    @property
    def ended(self) -> bool:
        """Whether the end of the run is among the undelivered calls."""
        return any(call["call"] == "end" for call in self._outbox.calls)

    @property
    def failure(self) -> str | None:
        """Reason why calls are undelivered, None if the last one succeeded."""
        return self._outbox.failure

    def deliver(self) -> None:
        """Try to make the undelivered calls."""
        self._outbox.flush(outbox.LAST_PATIENCE)

    def open(
        self,
        *,
        experiment_name: str,
        name: str,
        run: Path,
        tags: Mapping[str, str],
        parent: str | None = None,
        kind: str = RUN,
    ) -> None:
        """Continue the run, or create it in the experiment `experiment_name` (arguments as in `open_tracking`)."""
        self._ends = self.run_id is None or run.resolve() == self._folder.resolve()
        parent_tag = {PARENT_TAG: parent} if parent else {}
        folders = {FOLDER_TAG: str(run.resolve()), OUTPUT_TAG: str(self._folder.resolve())}
        all_tags = {KIND_TAG: kind, **tags, **folders, **parent_tag}
        call = {"experiment_name": experiment_name, "name": name, "tags": all_tags, "at": _now(), "run_id": self.run_id}
        self._outbox.forget(lambda waiting: waiting["call"] == "end")  # the run continues
        self._outbox.open(call)

    def loggers(self) -> list[Logger]:
        """Return one logger, which passes metrics to this run and to the other loggers."""
        return [_Metrics(self)]

    def rewind(self, step: int) -> None:
        """Delete the metrics after `step`, from which the run is resumed, whether delivered or not."""
        self._outbox.forget(lambda call: call["call"] == "metrics" and call["step"] > step)
        self._send("rewind", step=step, at=_now())

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Log new parameters: a resumed run keeps the values that it was started with."""
        super().parameters(values)
        self._send("parameters", values={key: str(value)[:_LONGEST_PARAMETER] for key, value in values.items()})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log the metrics of a step in one request; results, at step 0, replace those of the same names.

        System metrics start after the first call, since MLflow's comparison begins with a run's first metric.
        """
        super().metrics(values, step)
        named = {_INVALID_IN_METRIC.sub("_", key): float(value) for key, value in values.items()}
        self._send("metrics", values=named, step=step, at=_now())
        if self._watches and self.failure is None:
            self._watch_system()

    def tag(self, key: str, value: str) -> None:
        """Set a tag."""
        self._send("tag", key=key, value=value)

    def describe(self, text: str) -> None:
        """Set the run's description, in Markdown."""
        super().describe(text)
        self.tag(NOTE_TAG, text)

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Log a dataset by name, digest and source."""
        super().dataset(name, digest, source, context)
        self._send("dataset", name=name, digest=digest, source=source, context=context)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file, or a folder's contents, from this command's folder to the run's artifacts."""
        super().artifact(path, folder)
        under = "/".join(part for part in (self.artifact_folder, folder) if part) or None
        self._send("artifact", path=self._stored(path), under=under)

    def model(self, run: Path, name: str, metric: float | None, content: str) -> None:
        """Log the model as an MLflow model and make it a version of the registered model `name`."""
        value = None if metric is None else float(metric)
        self._send("model", run=self._stored(run), name=name, metric=value, content=content)

    def view(self, headline: str) -> None:
        """Save the view of all runs of the experiment."""
        self._send("view", headline=headline)

    def sweep_view(self, keys: Sequence[str], headline: str) -> None:
        """Save the view of a sweep's jobs by the parameters that were swept."""
        self._send("sweep_view", keys=list(keys), headline=headline)

    def end(self, status: str) -> None:
        """Stop system metrics and close the run; wait longer for a locked database unless the user stopped the run.

        Raises:
            OSError: a finished run's last calls can neither be made nor stored.
        """
        super().end(status)
        try:
            if self._system is not None and self.failure is None:
                self._system.finish()
        finally:  # a signal may interrupt `finish`, which waits for a thread
            self._close(status)

    def _close(self, status: str) -> None:
        try:
            if self._ends:
                self._send("end", status=status, at=_now())
            if self.undelivered and status != KILLED:
                self.deliver()
            if self._outbox.unsaved is not None and status == FINISHED:
                raise self._outbox.unsaved
        finally:
            if self.undelivered:
                log.warning(
                    "%d calls to MLflow couldn't be made (%s): deliver them later with %s",
                    self.undelivered,
                    self.failure,
                    command_line("sync", override("run", self._folder)),
                )

    def _send(self, name: str, /, **arguments: Any) -> None:
        self._outbox.send({"call": name, **arguments})

    def _make(self, call: Call) -> Call | None:
        return self._calls[call["call"]](**{key: value for key, value in call.items() if key != "call"})

    def _stored(self, path: Path) -> str:
        """Path relative to the folder, which may be moved."""
        return str(path.resolve().relative_to(self._folder.resolve()))

    def _file(self, path: str) -> Path:
        """Resolve a stored path; only files in the folder are sent, since a downloaded folder may name any.

        Raises:
            InputError: it isn't in the folder.
        """
        file = (self._folder / path).resolve()
        if not file.is_relative_to(self._folder.resolve()):
            raise InputError(f"{path} isn't in {self._folder}: only files in that folder are sent")
        return file

    @cached_property
    def _client(self) -> Any:
        return client_of(self._home)

    def _open(self, run_id: str | None, experiment_name: str, name: str, tags: dict[str, str], at: int) -> Call | None:
        """Continue the run if MLflow still has it, else create it, unless a killed command just created it."""
        if run_id is None or existing_run_id(self._home, run_id, self._folder) is None:
            call = {"call": OPEN, "experiment_name": experiment_name, "name": name, "tags": tags, "at": at}
            experiment = self._experiment(experiment_name)  # creates the database
            if known := run_of_output(self._home, Path(tags[OUTPUT_TAG])):
                return {**call, "run_id": known}
            created = self._client.create_run(experiment, start_time=at, run_name=name, tags=tags)
            self._ends = True
            return {**call, "run_id": str(created.info.run_id)}
        self.run_id = run_id
        if tags[FOLDER_TAG] == tags.get(OUTPUT_TAG):
            self._client.update_run(run_id, status=RUNNING)
            if ERROR_TAG in self._client.get_run(run_id).data.tags:
                self._client.delete_tag(run_id, ERROR_TAG)  # of a job that ended before
        with atomic_path(self._folder / RUN_ID) as partial:
            partial.write_text(run_id)
        return None

    def _experiment(self, name: str) -> str:
        client, artifacts = self._client, artifacts_of(self._home)
        with exclusively(self._home):
            experiment = client.get_experiment_by_name(name)
            if experiment is not None:
                return str(experiment.experiment_id)
            return str(client.create_experiment(name, artifact_location=artifacts, tags=_EXPERIMENT_KIND))

    def _parameters(self, values: dict[str, str]) -> None:
        from mlflow.entities import Param

        logged = self._client.get_run(self.run_id).data.params
        new = [Param(key, value) for key, value in values.items() if key not in logged]
        for start in range(0, len(new), 100):
            self._client.log_batch(self.run_id, params=new[start : start + 100])

    def _rewind(self, step: int, at: int) -> None:
        assert self.run_id is not None
        delete_curves(self._home, self.run_id, after=step, before=at)

    def _metrics(self, values: dict[str, float], step: int, at: int) -> None:
        from mlflow.entities import Metric

        assert self.run_id is not None
        if step == 0:
            delete_results(self._home, self.run_id, list(values))
        self._client.log_batch(self.run_id, metrics=[Metric(key, value, at, step) for key, value in values.items()])

    def _tag(self, key: str, value: str) -> None:
        self._client.set_tag(self.run_id, key, value)

    def _dataset(self, name: str, digest: str, source: str, context: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=name, digest=digest[:36], source_type="local", source=source)
        with exclusively(self._home):
            self._client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def _artifact(self, path: str, under: str | None) -> None:
        file = self._file(path)
        inner = [each for each in sorted(file.rglob("*")) if each.is_file()]
        for each in inner if file.is_dir() else [file]:
            folder = "/".join([*([under] if under else []), *each.relative_to(file).parts[:-1]])
            if not is_partial(each.relative_to(self._folder.resolve())):
                self._client.log_artifact(self.run_id, str(each), folder or None)

    def _model(self, run: str, name: str, metric: float | None, content: str = "") -> Call:
        """Log the model; registering it is a call of its own, since it may fail separately."""
        from reasonir.tracking.model_registry import package

        assert self.run_id is not None
        folder = self._file(run)
        address = package(self._home, self.run_id, folder / "model", run=folder)
        return {"call": "version", "address": address, "name": name, "metric": metric, "content": content}

    def _version(self, address: str, name: str, metric: float | None, content: str = "") -> None:
        from reasonir.tracking.model_registry import register

        assert self.run_id is not None
        register(self._home, address, name, self.run_id, metric=metric, content=content)

    def _view(self, headline: str) -> None:
        from reasonir.tracking.mlflow_views import BROWSER, save_runs_view

        log.info(BROWSER, save_runs_view(self._client, str(self.run_id), headline))

    def _sweep_view(self, keys: list[str], headline: str) -> None:
        from reasonir.tracking.mlflow_views import BROWSER, save_sweep_view

        log.info(BROWSER, save_sweep_view(self._client, str(self.run_id), keys, headline))

    def _end(self, status: str, at: int) -> None:
        self._client.set_terminated(self.run_id, status, at)

    def _watch_system(self) -> None:
        """Start MLflow's thread of system metrics, or start it again: it ends at a locked database."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)  # no warning: the thread is restarted here
        try:
            if self._system is not None:
                if self._system._process.is_alive():
                    return
                self._system.finish()  # logs the thread's remaining metrics
            self._system = SystemMetricsMonitor(self.run_id, resume_logging=True, tracking_uri=address_of(self._home))
            self._system.start()
        except Exception as error:  # tracking must not end a run
            self._watches = False
            log.warning("System metrics aren't tracked: %s", error)


class _Metrics(Logger):
    """Lightning logger that passes metrics to a tracked run."""

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
        """Do nothing: `Tracking.parameters` logs the configuration."""


def _now() -> int:
    return int(time.time() * 1000)


def close_abandoned(home: Path) -> None:
    """Close the runs that read RUNNING though no process writes their folder, as one that got SIGKILL, as killed.

    The end is the time of the last change in the folder. A folder outside of `home` that isn't there may be mounted
    elsewhere: its run is left alone.
    """
    if not database_of(home).is_file() or blocked(home) is not None:
        return
    try:
        for run_id, folder in open_runs(home).items():
            gone = not folder.is_dir() and folder.is_relative_to(home.resolve())
            if (gone or is_abandoned(folder)) and not MlflowTracking(home, folder).ended:
                client_of(home).set_terminated(run_id, KILLED, _last_change(folder))
                log.info("The run in %s was killed: MLflow says so now", folder)
    except Exception as error:  # tracking must not end a run
        log.warning("MLflow may show runs as running whose processes were killed: %s", error)


def _last_change(folder: Path) -> int:
    """Milliseconds of the last change of a folder's files; now, without any."""
    files = [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    return int(1000 * max((file.stat().st_mtime for file in files), default=time.time()))


def deliver(home: Path, folder: Path) -> str | None:
    """Make the undelivered calls of a folder; return why some still fail, None if none does.

    Raises:
        InputError: a process is writing the folder.
    """
    if not (folder / UNDELIVERED).is_file():
        return None
    with lock_folder(folder):
        tracking = MlflowTracking(home, folder, saved_run_id(folder))
        tracking.deliver()
    return tracking.failure
