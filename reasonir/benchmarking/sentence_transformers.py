"""sentence-transformers' ranking losses for bi-encoders, in the version of the peer's environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from reasonir.benchmarking.base import Peer, Workload
from reasonir.utils.ranges import Positive, Validated


@dataclass(frozen=True, slots=True)
class SentenceTransformers(Peer, Validated):
    """MultipleNegativesRankingLoss, or its cached form with `mini_batch_size`.

    Attributes:
        mini_batch_size: texts per mini-batch.
        mini_batch_num_tokens: tokens per mini-batch instead of texts, from version 6 on.
        python: see `Peer`.
    """

    mini_batch_size: Positive | None = None
    mini_batch_num_tokens: Positive | None = None
    python: str | None = None
    heads: ClassVar[frozenset[str]] = frozenset({"biencoder"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`."""
        from sentence_transformers import SentenceTransformer, losses

        model = SentenceTransformer(workload.model.path, **workload.load_options)
        features: list[dict[str, Any]] = []
        for texts in workload.columns:
            tokens = model.tokenize(list(texts))
            features.append({key: to_device(value, workload.device) for key, value in tokens.items()})
        scale = 1.0 / workload.temperature
        if self.mini_batch_size:
            sizes = {"mini_batch_size": self.mini_batch_size}
            if self.mini_batch_num_tokens:
                sizes["mini_batch_num_tokens"] = self.mini_batch_num_tokens
            objective: nn.Module = losses.CachedMultipleNegativesRankingLoss(model, scale=scale, **sizes)
        else:
            objective = losses.MultipleNegativesRankingLoss(model, scale=scale)
        return model, lambda: objective([dict(column) for column in features], None)


def to_device(value: Any, device: str) -> Any:
    """Move a feature to `device` if it is a tensor."""
    return value.to(device) if isinstance(value, Tensor) else value
