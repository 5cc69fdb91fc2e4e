"""MLflow model registry: a run's exported model as an MLflow model, for `mlflow models serve`.

The MLflow model holds the weights, which aren't logged as an artifact again, and the run's configuration, so that it is
loaded like the run. Models of the same data and head are versions of one registered model; the alias `best` points to
the one with the highest development metric, among those with the development queries of the newest version.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Any

from reasonir.config import PACKAGE
from reasonir.eval.stats.ranking_metrics import DEV_METRIC
from reasonir.tracking.database import address_of, artifacts_of, client_of, exclusively
from reasonir.tracking.records import delete_output
from reasonir.utils.files import add_strings, sha256

MODEL, BEST = "model", "best"
METRIC = f"dev/{DEV_METRIC}"
"""Tag of a version with its development metric."""
CONTENT = "content"
"""Tag with a digest: of the files of a logged model; of the development task of a version, whose metric is compared
with those on the same task only."""
_INVALID_IN_NAME = re.compile("[/:]")


def package(
    home: Path, run_id: str, export: Path, *, run: Path | None, index: Path | None = None, device: str = "auto"
) -> str:
    """Log an exported model as the MLflow model `model` of a run, unless the run has it.

    Args:
        home: root of MLflow's database.
        run_id: of the MLflow run.
        export: folder that `reasonir.model.export.export` wrote.
        run: folder of the run that trained it, if there is one.
        index: folder that `Retriever.save` wrote, with the corpus of a retriever.
        device: to run on; "auto" takes a GPU if there is one.

    Returns:
        The model's URI, `models:/...`.
    """
    import mlflow

    artifacts = {
        "model": export,
        **({"config": run / "config.yaml"} if run else {}),
        **({"index": index} if index else {}),
    }
    content = _digest(export, *([index] if index else []))
    if logged_before := _logged(home, run_id, content):
        return logged_before
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(address_of(home))
    with _active(run_id), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example")  # an example would run the model
        logged = mlflow.pyfunc.log_model(
            name=MODEL,
            python_model=str(PACKAGE / "publishing" / "serving.py"),
            artifacts={name: path.resolve().as_uri() for name, path in artifacts.items()},
            model_config={"device": device},
            signature=_signature(),
            pip_requirements=[f"reasonir=={metadata.version('reasonir')}"],
            tags={CONTENT: content},
        )
    return str(logged.model_uri)


def _digest(*folders: Path) -> str:
    """Digest of the files of a model and its index."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            add_strings(digest, (str(file.relative_to(folder)), sha256(file)))
    return digest.hexdigest()


def _logged(home: Path, run_id: str, content: str) -> str | None:
    """Return the URI of the model that a run logged with this content; delete those whose logging was interrupted."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    client, found, ours = client_of(home), None, local_file_uri_to_path(artifacts_of(home))
    experiment = client.get_run(run_id).info.experiment_id
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        if str(model.status) == "READY":
            found = str(model.model_uri) if model.tags.get(CONTENT) == content else found
            continue
        delete_output(home, run_id, model.model_id)
        client.delete_logged_model(model.model_id)
        if (files := Path(local_file_uri_to_path(model.artifact_location))).is_relative_to(ours):
            shutil.rmtree(files, ignore_errors=True)
    return found


def register(home: Path, address: str, name: str, run_id: str, *, metric: float | None, content: str) -> None:
    """Register a logged model as a version of `name`, and point the alias `best` to the best version.

    Args:
        home: root of MLflow's database.
        address: URI returned by `package`; registering it twice adds nothing.
        name: of the registered model.
        run_id: of the MLflow run.
        metric: the best development metric.
        content: digest of the development task.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(address_of(home))  # creating a version looks the model up there, not with the client
    client, name = client_of(home), _INVALID_IN_NAME.sub("_", name)
    with exclusively(home):
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if not any(version.source == address for version in client.search_model_versions(f"name='{name}'")):
            tags = {CONTENT: content, **({} if metric is None else {METRIC: repr(metric)})}
            client.create_model_version(name, address, run_id, tags=tags, model_id=address.removeprefix("models:/"))
        point_to_best(client, name)


def point_to_best(client: Any, name: str) -> None:
    """Point the alias `best` to the earliest best version on the newest one's queries."""
    versions = client.search_model_versions(f"name='{name}'")
    newest = max(versions, key=lambda version: int(version.version))
    evaluated = [
        version
        for version in versions
        if version.tags.get(CONTENT) == newest.tags.get(CONTENT)
        and isfinite(float(version.tags.get(METRIC, "nan")))  # nan compares as neither better nor worse
    ]
    if evaluated:
        best = max(evaluated, key=lambda version: (float(version.tags[METRIC]), -int(version.version)))
        client.set_registered_model_alias(name, BEST, best.version)


@contextmanager
def _active(run_id: str) -> Iterator[None]:
    """Make a run MLflow's active one during the block, as logging a model requires; restore its status afterwards."""
    import mlflow

    before = mlflow.get_run(run_id).info
    mlflow.start_run(run_id=run_id, nested=True)
    try:
        yield
    finally:
        mlflow.end_run(before.status)
        if before.end_time:
            mlflow.MlflowClient().set_terminated(run_id, before.status, before.end_time)


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.string, "query"),
                ColSpec(Array(AnyType()), "documents", required=False),  # MLflow would write nulls as strings
                ColSpec(DataType.string, "instruction", required=False),
            ]
        ),
        params=ParamSchema([ParamSpec("top_k", DataType.long, None), ParamSpec("threshold", DataType.double, None)]),
    )
