"""Train and evaluate retrievers and rerankers: one composed, tracked, resumable run per command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reasonir.commands.api import RunResult
    from reasonir.commands.compose import TrainParts
    from reasonir.inference.loading import Device
    from reasonir.inference.pruner import Pruner
    from reasonir.inference.reranker import Reranker
    from reasonir.inference.retriever import Retriever

__version__ = "0.1.0"


def load(path: str | Path, *, device: Device = "cpu", trust_remote_code: bool = False) -> Retriever | Reranker | Pruner:
    """Load a retriever, reranker or pruner.

    A retriever has `encode`, `score` and, with documents, `retrieve` and `search`; a reranker has `score` and `rerank`;
    a pruner these and `prune`.

    Args:
        path: a run's folder or MLflow id, an exported folder or a hub id.
        device: to run on, as torch names it ("cpu", "cuda:1"); "auto" for a GPU if there is one.
        trust_remote_code: run Python code in the checkpoint, or named by the run's configuration.

    Raises:
        InputError: it is unreachable, has no recognisable head, or would run untrusted code; or there is no such
            device.
    """
    from reasonir import inference

    return inference.load(path, device=device, trust_remote_code=trust_remote_code)


def compose(*overrides: str) -> TrainParts:
    """Check and build the parts of a training run (see `reasonir.commands.api.compose`)."""
    from reasonir.commands.api import compose

    return compose(*overrides)


def train(*overrides: str) -> RunResult:
    """Train, evaluate and track a model, as the command does (see `reasonir.commands.api.train`).

    >>> reasonir.train("model=minilm", "data=demo").metrics["demo"]["ndcg_at_10"]  # doctest: +SKIP
    """
    from reasonir.commands.api import train

    return train(*overrides)


def evaluate(*overrides: str) -> RunResult:
    """Evaluate a run or a model, as the command does (see `reasonir.commands.api.evaluate`)."""
    from reasonir.commands.api import evaluate

    return evaluate(*overrides)
