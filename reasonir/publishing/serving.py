"""A model as MLflow serves it: it answers questions over HTTP with what its head is made for.

    export MLFLOW_TRACKING_URI=sqlite:///$PWD/mlflow.db
    mlflow models serve -m models:/<data>-<head>@best --env-manager local --port 5001
    curl localhost:5001/invocations -H 'Content-Type: application/json' -d '{
        "dataframe_records": [{"query": "why does it rain", "documents": ["Warm air rises.", "Copper conducts."]}],
        "params": {"top_k": 1}}'

Every record has `query`, and `documents` unless the model was logged with a corpus, which it then searches; either all
of them have an `instruction` or none. The answer, {"predictions": [...]}, holds for each record a list with the best
first: of a retriever `id`, `text`, `score`; of a reranker `place` (which of the documents) and `score`; of a pruner
these with the `kept` text and every sentence's probability. The parameters: `top_k` (ten of a retriever, all of the
others) and a pruner's `threshold`. Scores are those of `reasonir.load`. This file is the model's code, which
`reasonir.tracking.model_registry` logs. Whoever serves a model that brings code of its own, or whose configuration
names a class that isn't reasonir's, says so: REASONIR_TRUST_REMOTE_CODE=1. Nothing in the model can say it.
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
from reasonir.inference.pruner import Pruned, Pruner
from reasonir.inference.retriever import Retriever
from reasonir.types import Text

TOP_K = 10
"""Hits of a retriever unless a request says otherwise."""


class Served(PythonModel):  # type: ignore[misc]
    """A retriever, reranker or pruner behind one method."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model, and the corpus that was logged with it."""
        import torch

        self._alone = Lock()  # requests come in threads, and tokenizers aren't for several at once
        device = context.model_config["device"]
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        trust = os.environ.get("REASONIR_TRUST_REMOTE_CODE") == "1"
        self._model = inference.load(context.artifacts["model"], device=device, trust_remote_code=trust)
        if "index" in context.artifacts:
            assert isinstance(self._model, Retriever)
            self._model.load_index(context.artifacts["index"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[list[dict[str, Any]]]:
        """The answer to each record.

        Raises:
            MlflowException: what is wrong with which record, which a client is told with the status 400.
        """
        answers = []
        with self._alone:
            for number, record in enumerate(model_input.to_dict("records")):
                try:
                    answers.append(self._answer(record, params or {}))
                except InputError as error:
                    raise MlflowException.invalid_parameter_value(f"record {number}: {error}") from error
        return answers

    def _answer(self, record: Mapping[str, Any], params: Mapping[str, Any]) -> list[dict[str, Any]]:
        query = Text(_filled("query", record["query"]), record.get("instruction") or "")
        given, top_k = record.get("documents"), params.get("top_k")
        documents = None if given is None else [_filled(f"document {place}", text) for place, text in enumerate(given)]
        if top_k is not None and top_k < 1:
            raise InputError(f"top_k={top_k}: give 1 or more")
        if isinstance(self._model, Retriever):
            return self._found(query, documents, top_k or TOP_K)
        if documents is None:
            raise InputError("documents is missing: give the texts that are to be ordered")
        if isinstance(self._model, Pruner):
            pruner = _at(self._model, params.get("threshold"))
            return [_as_json(pruned) for pruned in pruner.prune(query, documents, top_k=top_k, reorder=True)]
        return [ranked._asdict() for ranked in self._model.rerank(query, documents, top_k)]

    def _found(self, query: Text, documents: Sequence[str] | None, top_k: int) -> list[dict[str, Any]]:
        retriever = self._model
        assert isinstance(retriever, Retriever)
        if documents is not None:
            retriever = Retriever(retriever.encoder)
            retriever.add_documents(documents)
        elif not len(retriever):
            raise InputError("documents is missing, and this model was logged without a corpus: give texts to search")
        return [hit._asdict() for hit in retriever.retrieve(query, top_k)]


def _at(pruner: Pruner, threshold: float | None) -> Pruner:
    if threshold is None:
        return pruner
    if not 0 <= threshold < 1:
        raise InputError(f"threshold={threshold}: give a probability below 1")
    return replace(pruner, threshold=threshold)


def _as_json(pruned: Pruned) -> dict[str, Any]:
    judged = sorted([*pruned.kept, *pruned.dropped], key=lambda sentence: sentence.start)
    sentences = [{"text": each.text, "probability": each.probability} for each in judged]
    return {"place": pruned.place, "score": pruned.score, "kept": pruned.text, "sentences": sentences}


def _filled(name: str, text: str) -> str:
    if not text.strip():
        raise InputError(f"{name} is empty: give a text")
    return text


set_model(Served())
