"""sentence-transformers' ranking losses for bi-encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from reasonir.contender.base import Workload


@dataclass(frozen=True, slots=True)
class SentenceTransformers:
    """MultipleNegativesRankingLoss, or with `mini_batch_size` its cached form."""

    mini_batch_size: int | None = None
    kind: ClassVar[frozenset[str]] = frozenset({"BiEncoder"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Contender`."""
        from sentence_transformers import SentenceTransformer, losses

        model = SentenceTransformer(workload.model.path, device=workload.device, local_files_only=True)
        features: list[dict[str, Any]] = []
        for texts in workload.columns:
            tokens = model.tokenize(list(texts))
            features.append({key: value.to(workload.device) for key, value in tokens.items()})
        scale = 1.0 / workload.temperature
        if self.mini_batch_size:
            objective: nn.Module = losses.CachedMultipleNegativesRankingLoss(
                model, scale=scale, mini_batch_size=self.mini_batch_size
            )
        else:
            objective = losses.MultipleNegativesRankingLoss(model, scale=scale)
        return model, lambda: objective([dict(column) for column in features], None)

    def gradient_scale(self, workload: Workload) -> float:
        """See `Contender`."""
        return 1.0
