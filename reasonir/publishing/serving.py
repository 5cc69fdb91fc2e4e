"""Model served by MLflow over HTTP: a retriever, reranker or pruner.

    export MLFLOW_TRACKING_URI=sqlite:///$PWD/mlflow.db
    mlflow models serve -m models:/<data>-<head>@best --env-manager local --port 5001
    curl localhost:5001/invocations -H 'Content-Type: application/json' -d '{
        "dataframe_records": [{"query": "why does it rain", "documents": ["Warm air rises.", "Copper conducts."]}],
        "params": {"top_k": 1}}'

Records, answers and parameters are those of `reasonir.publishing.answers`, within its default limits; nulls among the
documents are refused. `reasonir.tracking.model_registry` logs this file as the model's code. A model with its own
code, or whose configuration names a class that isn't reasonir's, needs REASONIR_TRUST_REMOTE_CODE=1 in the server's
environment. MLflow's server reads any request whole, goes on working for clients that have left, and answers mistakes
with its own stack trace: `python -m reasonir.serve` doesn't.
"""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from reasonir import inference
from reasonir.errors import InputError
from reasonir.inference.retriever import Retriever
from reasonir.publishing.answers import Answers, Limits
from reasonir.publishing.turns import TooLateError


class Served(PythonModel):  # type: ignore[misc]
    """MLflow model of a retriever, reranker or pruner."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model, and the corpus that was logged with it."""
        trust = os.environ.get("REASONIR_TRUST_REMOTE_CODE") == "1"
        model = inference.load(
            context.artifacts["model"], device=context.model_config["device"], trust_remote_code=trust
        )
        if "index" in context.artifacts:
            assert isinstance(model, Retriever)
            model.load_index(context.artifacts["index"])
        self._answers = Answers(model, Limits())

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[list[dict[str, Any]]]:
        """Answer each record.

        Raises:
            MlflowException: naming the invalid record; clients get status 400.
        """
        records = [_given(record) for record in model_input.to_dict("records")]
        given = {name: value for name, value in (params or {}).items() if value is not None}
        limits = self._answers.limits
        try:
            return self._answers.answer(records, given, limits.deadline())
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        except TooLateError:
            raise MlflowException(f"no answer within {limits.seconds:g} seconds: give fewer documents") from None


def _given(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record's values without the missing ones, which a data frame of several records writes as NaN.

    A missing query stays, to be refused as such.
    """
    return {
        name: None if missing else value
        for name, value in record.items()
        if not (missing := pd.api.types.is_scalar(value) and pd.isna(value)) or name == "query"
    }


set_model(Served())
