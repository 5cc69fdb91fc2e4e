"""sentence-transformers' binary cross entropy for cross-encoders.

Its loss tokenises a batch in every step; here that is done once, so that it isn't timed, as it isn't for anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from reasonir.contender.base import Workload


@dataclass(frozen=True, slots=True)
class CrossEncoder:
    """BinaryCrossEntropyLoss on all pairs at once, padded to the longest."""

    kind: ClassVar[frozenset[str]] = frozenset({"CrossEncoder"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Contender`; documents are cut where ours are."""
        import sentence_transformers
        from sentence_transformers.cross_encoder import losses

        tokenizer, _ = workload.model.read_tokenizer(Path(workload.model.path))
        model = sentence_transformers.CrossEncoder(
            workload.model.path,
            max_length=tokenizer.limit("document"),
            device=workload.device,
            local_files_only=True,
        )
        judged = [(each.query, document) for each in workload.examples for document in each.documents]
        pairs = [(query, document.text) for query, document in judged]
        tokens = model.tokenizer(pairs, padding=True, truncation="only_second", return_tensors="pt")
        tokens = tokens.to(workload.device)
        model.tokenizer = lambda *_, **__: tokens
        labels_P = torch.tensor([document.label for _, document in judged], device=workload.device)
        objective = losses.BinaryCrossEntropyLoss(model)
        columns = [list(column) for column in zip(*pairs, strict=True)]
        return model, lambda: objective(columns, labels_P)

    def gradient_scale(self, workload: Workload) -> float:
        """See `Contender`."""
        return 1.0
