"""The exported model of a tracked run as an MLflow model that `mlflow models serve` starts.

Its weights are stored once, in place of a plain artifact; beside them lies the run's configuration, so that it is
loaded as the run is. Models of the same data and head are versions of one registered model, and the alias `best` stays
with the highest development metric among them.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Any

from reasonir.config import PACKAGE
from reasonir.eval.stats.ranking_metrics import DEV_METRIC
from reasonir.tracking.database import address_of, client_of, exclusively

MODEL, BEST = "model", "best"
METRIC = f"dev/{DEV_METRIC}"
"""The tag of a version that tells its development metric."""
_UNNAMEABLE = re.compile("[/:]")


def package(
    home: Path, run_id: str, export: Path, *, run: Path | None, index: Path | None = None, device: str = "auto"
) -> str:
    """Log an exported model as the MLflow model named `model` of a run.

    Args:
        home: MLflow's database is under it.
        run_id: of the run in MLflow.
        export: what `Encoder.save` wrote.
        run: the folder of the run that trained it, if there is one.
        index: of a retriever, what `Retriever.save` wrote: a corpus that it searches.
        device: where it runs; auto is a GPU where there is one.

    Returns:
        The model's address, `models:/...`.
    """
    import mlflow

    artifacts = {
        "model": export,
        **({"config": run / "config.yaml"} if run else {}),
        **({"index": index} if index else {}),
    }
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(address_of(home))
    with _active(run_id), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example")  # one would have to be answered first
        logged = mlflow.pyfunc.log_model(
            name=MODEL,
            python_model=str(PACKAGE / "publishing" / "serving.py"),
            artifacts={name: str(path.resolve()) for name, path in artifacts.items()},
            model_config={"device": device},
            signature=_signature(),
            pip_requirements=[f"reasonir=={metadata.version('reasonir')}"],
        )
    return str(logged.model_uri)


def register(home: Path, address: str, name: str, run_id: str, metric: float | None) -> None:
    """Make a logged model a version of a registered one, and the alias `best` that of the best version.

    Args:
        home: MLflow's database is under it.
        address: what `package` returned; a second call with it adds nothing.
        name: of the registered model.
        run_id: of the run in MLflow.
        metric: the best development metric.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(address_of(home))  # creating a version looks the model up there, whatever the client
    client, name = client_of(home), _UNNAMEABLE.sub("_", name)
    with exclusively(home):
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if not any(each.source == address for each in client.search_model_versions(f"name='{name}'")):
            tags = {} if metric is None else {METRIC: repr(metric)}
            client.create_model_version(name, address, run_id, tags=tags, model_id=address.removeprefix("models:/"))
        point_to_best(client, name)


def point_to_best(client: Any, name: str) -> None:
    """Let the alias `best` point to the version with the highest metric, the earliest of several."""
    measured = [
        each
        for each in client.search_model_versions(f"name='{name}'")
        if isfinite(float(each.tags.get(METRIC, "nan")))  # nan compares as neither better nor worse
    ]
    if measured:
        best = max(measured, key=lambda each: (float(each.tags[METRIC]), -int(each.version)))
        client.set_registered_model_alias(name, BEST, best.version)


@contextmanager
def _active(run_id: str) -> Iterator[None]:
    """A block in which a run is MLflow's active one, as logging a model needs; its status stays what it was."""
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
    from mlflow.types.schema import Array

    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.string, "query"),
                ColSpec(Array(DataType.string), "documents", required=False),
                ColSpec(DataType.string, "instruction", required=False),
            ]
        ),
        params=ParamSchema([ParamSpec("top_k", DataType.long, None), ParamSpec("threshold", DataType.double, None)]),
    )
