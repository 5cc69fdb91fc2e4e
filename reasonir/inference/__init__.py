"""Inference: retriever, reranker, pruner, and the pipeline of all three."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reasonir.inference.loading import Device
    from reasonir.inference.pruner import Pruner
    from reasonir.inference.reranker import Reranker
    from reasonir.inference.retriever import Retriever


def load(path: str | Path, *, device: Device = "cpu", trust_remote_code: bool = False) -> Retriever | Reranker | Pruner:
    """Load a model; see `reasonir.load`."""
    from reasonir.inference.loading import read_encoder
    from reasonir.inference.pruner import Pruner
    from reasonir.inference.reranker import Reranker
    from reasonir.inference.retriever import Retriever

    encoder = read_encoder(path, device=device, trust_remote_code=trust_remote_code)
    kinds: dict[str, type[Retriever | Reranker]] = {"retriever": Retriever, "reranker": Reranker, "pruner": Pruner}
    return kinds[encoder.head.kind](encoder)
