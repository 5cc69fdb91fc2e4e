"""sentence-transformers' binary cross entropy for cross-encoders, in the version of the peer's environment.

Its loss tokenises the batch in every step; here that is done once, since tokenisation isn't timed for any peer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reasonir.benchmarking.base import Peer, Workload


@dataclass(frozen=True, slots=True)
class CrossEncoderPeer(Peer):
    """BinaryCrossEntropyLoss on all pairs at once, padded to the longest; `python` as in `Peer`."""

    python: str | None = None
    heads: ClassVar[frozenset[str]] = frozenset({"cross_encoder"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`; pairs are truncated as in this package."""
        import sentence_transformers

        model = sentence_transformers.CrossEncoder(workload.model.path, **workload.load_options)
        pairs, _ = labelled_pairs(workload)
        tokens = model.tokenizer(
            pairs,
            padding=True,
            truncation="longest_first",
            max_length=workload.limits["document"],
            return_tensors="pt",
        )
        return model, loss_on_tokens(model, tokens.to(workload.device), workload)


def labelled_pairs(workload: Workload) -> tuple[list[tuple[str, str]], list[float]]:
    """Return (query, document) of every pair, and the labels."""
    pairs = [(example.query, document) for example in workload.examples for document in example.documents]
    return [(query, document.text) for query, document in pairs], [document.label for _, document in pairs]


def loss_on_tokens(model: Any, tokens: Any, workload: Workload) -> Callable[[], Tensor]:
    """Return the loss of a sentence-transformers cross-encoder on tokenised pairs."""
    from sentence_transformers.cross_encoder import losses

    name = "preprocess" if hasattr(model, "preprocess") else "tokenizer"  # from version 6 on, or before
    setattr(model, name, lambda *_, **__: tokens)
    pairs, labels = labelled_pairs(workload)
    labels_P = torch.tensor(labels, device=workload.device)
    columns = [list(column) for column in zip(*pairs, strict=True)]
    objective = losses.BinaryCrossEntropyLoss(model)
    return lambda: objective(columns, labels_P)
