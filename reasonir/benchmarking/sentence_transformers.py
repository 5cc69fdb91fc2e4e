"""sentence-transformers' ranking losses for bi-encoders, by the version of whichever environment it runs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from reasonir.benchmarking.base import Workload
from reasonir.utils.ranges import Positive, Validated


@dataclass(frozen=True, slots=True)
class SentenceTransformers(Validated):
    """MultipleNegativesRankingLoss, or with `mini_batch_size` its cached form.

    Attributes:
        mini_batch_size: texts of a mini-batch.
        mini_batch_num_tokens: tokens of a mini-batch in place of that, from version 6 on.
        python: see `Peer`.
    """

    mini_batch_size: Positive | None = None
    mini_batch_num_tokens: Positive | None = None
    python: str | None = None
    heads: ClassVar[frozenset[str]] = frozenset({"biencoder"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`."""
        from sentence_transformers import SentenceTransformer, losses

        model = SentenceTransformer(workload.model.path, **workload.loading)
        features: list[dict[str, Any]] = []
        for texts in workload.columns:
            tokens = model.tokenize(list(texts))
            features.append({key: moved(value, workload.device) for key, value in tokens.items()})
        scale = 1.0 / workload.temperature
        if self.mini_batch_size:
            sizes = {"mini_batch_size": self.mini_batch_size}
            if self.mini_batch_num_tokens:
                sizes["mini_batch_num_tokens"] = self.mini_batch_num_tokens
            objective: nn.Module = losses.CachedMultipleNegativesRankingLoss(model, scale=scale, **sizes)
        else:
            objective = losses.MultipleNegativesRankingLoss(model, scale=scale)
        return model, lambda: objective([dict(column) for column in features], None)

    def gradient_scale(self, workload: Workload) -> float:
        """See `Peer`: exact."""
        return 1.0


def moved(value: Any, device: str) -> Any:
    """A feature on `device`, where it is a tensor."""
    return value.to(device) if isinstance(value, Tensor) else value
