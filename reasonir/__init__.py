"""Train and evaluate retrievers that must reason: one composed, tracked, resumable run per command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reasonir.inference.pruner import Pruner
    from reasonir.inference.reranker import Reranker
    from reasonir.inference.retriever import Retriever

__version__ = "0.1.0"


def load(path: str | Path, *, device: str = "cpu", trust_remote_code: bool = False) -> Retriever | Reranker | Pruner:
    """What a run's folder or MLflow id, an exported folder or a hub id holds, to be used from Python.

    A retriever has `encode`, `score` and, once documents were added, `retrieve` and `search`; a reranker `score` and
    `rerank`; a pruner these and `prune`.

    Args:
        path: of any of these.
        device: where it runs.
        trust_remote_code: run Python code that the checkpoint brings, or that the run's configuration names.

    Raises:
        InputError: it can't be reached, doesn't say which head it has, or would run code that isn't trusted.
    """
    from reasonir.inference.loading import read_encoder
    from reasonir.inference.pruner import Pruner
    from reasonir.inference.reranker import Reranker
    from reasonir.inference.retriever import Retriever

    encoder = read_encoder(str(path), device=device, trust_remote_code=trust_remote_code)
    kinds: dict[str, type[Retriever | Reranker]] = {"retriever": Retriever, "reranker": Reranker, "pruner": Pruner}
    return kinds[encoder.head.kind](encoder)
