"""Model served by MLflow over HTTP: a retriever, reranker or pruner.

    export MLFLOW_TRACKING_URI=sqlite:///$PWD/mlflow.db
    mlflow models serve -m models:/<data>-<head>@best --env-manager local --port 5001
    curl localhost:5001/invocations -H 'Content-Type: application/json' -d '{
        "dataframe_records": [{"query": "why does it rain", "documents": ["Warm air rises.", "Copper conducts."]}],
        "params": {"top_k": 1}}'

Every record has `query`, and `documents` unless the model was logged with a corpus to search; it may have an
`instruction`. Nulls among the documents are refused. The response, {"predictions": [...]}, has one list per record,
best first: `id`, `text`, `score` from a retriever; `position` (index in the documents) and `score` from a reranker;
from a pruner these, the `kept` text and every sentence's probability. Parameters: `top_k` (default 10 for a retriever,
all for others) and a pruner's `threshold`. `reasonir.tracking.model_registry` logs this file as the model's code. A
model with its own code, or whose configuration names a class that isn't reasonir's, needs REASONIR_TRUST_REMOTE_CODE=1
in the server's environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from reasonir import inference
from reasonir.errors import InputError
from reasonir.inference.arguments import many_strings, one_query
from reasonir.inference.pruner import Pruned, Pruner
from reasonir.inference.retriever import Retriever
from reasonir.types import Text

TOP_K = 10
"""Default number of a retriever's hits."""


class Served(PythonModel):  # type: ignore[misc]
    """MLflow model of a retriever, reranker or pruner."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model, and the corpus that was logged with it."""
        self._lock = Lock()  # requests come in threads, and tokenizers aren't thread-safe
        trust = os.environ.get("REASONIR_TRUST_REMOTE_CODE") == "1"
        self._model = inference.load(
            context.artifacts["model"], device=context.model_config["device"], trust_remote_code=trust
        )
        if "index" in context.artifacts:
            assert isinstance(self._model, Retriever)
            self._model.load_index(context.artifacts["index"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[list[dict[str, Any]]]:
        """Answer each record.

        Raises:
            MlflowException: naming the invalid record; clients get status 400.
        """
        answers = []
        with self._lock:
            for number, record in enumerate(model_input.to_dict("records")):
                try:
                    answers.append(self._answer(record, params or {}))
                except InputError as error:
                    raise MlflowException.invalid_parameter_value(f"record {number}: {error}") from error
        return answers

    def _answer(self, record: Mapping[str, Any], params: Mapping[str, Any]) -> list[dict[str, Any]]:
        instruction, texts = (_given(record, name) for name in ("instruction", "documents"))
        query, top_k = one_query(Text(record["query"], instruction or "")), params.get("top_k")
        documents = None if texts is None else many_strings(texts, "documents")
        if isinstance(self._model, Retriever):
            return self._retrieve(query, documents, TOP_K if top_k is None else top_k)
        if documents is None:
            raise InputError("documents is missing: give the texts to order")
        if isinstance(self._model, Pruner):
            threshold = params.get("threshold")
            pruner = self._model if threshold is None else replace(self._model, threshold=threshold)
            return [_as_json(pruned) for pruned in pruner.prune(query, documents, top_k=top_k, reorder=True)]
        return [ranked._asdict() for ranked in self._model.rerank(query, documents, top_k)]

    def _retrieve(self, query: Text, documents: Sequence[str] | None, top_k: int) -> list[dict[str, Any]]:
        retriever = self._model
        assert isinstance(retriever, Retriever)
        if documents is not None:
            retriever = Retriever(retriever.encoder)
            retriever.add_documents(documents, range(len(documents)))
        elif not len(retriever):
            raise InputError("documents is missing, and this model was logged without a corpus: give texts to search")
        return [hit._asdict() for hit in retriever.retrieve(query, top_k)]


def _given(record: Mapping[str, Any], name: str) -> Any:
    """Return a value of a record; None if it has none, which a data frame of several records writes as NaN."""
    value = record.get(name)
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def _as_json(pruned: Pruned) -> dict[str, Any]:
    ordered = sorted([*pruned.kept, *pruned.dropped], key=lambda sentence: sentence.start)
    sentences = [{"text": sentence.text, "probability": sentence.probability} for sentence in ordered]
    return {"position": pruned.position, "score": pruned.score, "kept": pruned.text, "sentences": sentences}


set_model(Served())
