"""The exported model of a tracked run as an MLflow model that `mlflow models serve` starts (`reasonir.serving`).

Its weights are stored once, in place of a plain artifact; beside them lies the run's configuration, so that it is
loaded as the run is. Models of the same data and head are versions of one registered model, and the alias `best` stays
with the highest development metric among them.
"""

from __future__ import annotations

import os
import re
import warnings
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Any

from reasonir.config import PACKAGE
from reasonir.training.callbacks import DEV_METRIC
from reasonir.training.tracking import Tracking

MODEL, BEST = "model", "best"
METRIC = f"dev/{DEV_METRIC}"
"""The tag of a version that tells its development metric."""
_UNNAMEABLE = re.compile("[/:]")


def package(
    tracking: Tracking, export: Path, *, run: Path | None, index: Path | None = None, device: str = "auto"
) -> str:
    """Log an exported model as the MLflow model named `model` of the tracked run that is open.

    Args:
        tracking: one that MLflow knows.
        export: what `Encoder.save` wrote.
        run: the folder of the run that trained it, if there is one.
        index: of a retriever, what `Retriever.save` wrote: a corpus that it searches.
        device: where it runs; auto is a GPU where there is one.

    Returns:
        The model's address, `models:/...`.
    """
    import mlflow

    assert tracking.run_id is not None
    artifacts = {
        "model": export,
        **({"config": run / "config.yaml"} if run else {}),
        **({"index": index} if index else {}),
    }
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example")  # one would have to be answered first
        logged = mlflow.pyfunc.log_model(
            name=MODEL,
            python_model=str(PACKAGE / "serving.py"),
            artifacts={name: str(path.resolve()) for name, path in artifacts.items()},
            model_config={"device": device},
            signature=_signature(),
            pip_requirements=[f"reasonir=={metadata.version('reasonir')}"],
        )
    return str(logged.model_uri)


def package_run(tracking: Tracking, folder: Path, name: str, metric: float | None) -> None:
    """Log the model of a finished run and register it, if MLflow knows the run.

    Args:
        tracking: of the run.
        folder: of the run.
        name: of the registered model.
        metric: the best development metric.
    """
    if tracking.run_id is None:
        return
    address = package(tracking, folder / "model", run=folder)
    with tracking.exclusively():
        register(address, _UNNAMEABLE.sub("_", name), tracking.run_id, metric)


def register(address: str, name: str, run_id: str, metric: float | None) -> None:
    """Make a logged model a version of a registered one, and let the alias `best` point to the best version."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = {} if metric is None else {METRIC: repr(metric)}
    client.create_model_version(name, address, run_id, tags=tags, model_id=address.removeprefix("models:/"))
    judged = [
        each
        for each in client.search_model_versions(f"name='{name}'")
        if isfinite(float(each.tags.get(METRIC, "nan")))  # nan compares as neither better nor worse
    ]
    if judged:  # an earlier version stays the best one where a later is as good
        best = max(judged, key=lambda each: (float(each.tags[METRIC]), -int(each.version)))
        client.set_registered_model_alias(name, BEST, best.version)


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
