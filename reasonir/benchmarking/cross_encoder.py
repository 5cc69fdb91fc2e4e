"""sentence-transformers' binary cross entropy for cross-encoders, by the version of whichever environment it runs in.

Its loss tokenises a batch in every step; here that is done once, so that it isn't timed, as it isn't for anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reasonir.benchmarking.base import Workload


@dataclass(frozen=True, slots=True)
class CrossEncoderPeer:
    """BinaryCrossEntropyLoss on all pairs at once, padded to the longest; `python` as in `Peer`."""

    python: str | None = None
    heads: ClassVar[frozenset[str]] = frozenset({"cross_encoder"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`; pairs are cut where ours are."""
        import sentence_transformers

        model = sentence_transformers.CrossEncoder(workload.model.path, **workload.loading)
        pairs, _ = judged_pairs(workload)
        tokens = model.tokenizer(
            pairs,
            padding=True,
            truncation="longest_first",
            max_length=workload.limits["document"],
            return_tensors="pt",
        )
        return model, on_tokens(model, tokens.to(workload.device), workload)

    def gradient_scale(self, workload: Workload) -> float:
        """See `Peer`: exact."""
        return 1.0


def judged_pairs(workload: Workload) -> tuple[list[tuple[str, str]], list[float]]:
    """(query, document) of every pair, and their labels."""
    judged = [(each.query, document) for each in workload.examples for document in each.documents]
    return [(query, document.text) for query, document in judged], [document.label for _, document in judged]


def on_tokens(model: Any, tokens: Any, workload: Workload) -> Callable[[], Tensor]:
    """The loss of a sentence-transformers cross-encoder on pairs that are tokenised already."""
    from sentence_transformers.cross_encoder import losses

    given = "preprocess" if hasattr(model, "preprocess") else "tokenizer"  # from version 6 on, and before
    setattr(model, given, lambda *_, **__: tokens)
    pairs, labels = judged_pairs(workload)
    labels_P = torch.tensor(labels, device=workload.device)
    columns = [list(column) for column in zip(*pairs, strict=True)]
    objective = losses.BinaryCrossEntropyLoss(model)
    return lambda: objective(columns, labels_P)
