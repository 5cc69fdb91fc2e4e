"""sentence-transformers' own late interaction, which came with its version 6: the strongest peer.

It opens PyLate's format; the markers "[Q] " and "[D] " are prompts there and stand before the text, as its collator has
it. Masked tokens are left out of the maximum, as in ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from reasonir.benchmarking.base import Workload
from reasonir.benchmarking.sentence_transformers import moved
from reasonir.utils.ranges import Positive, Validated


@dataclass(frozen=True, slots=True)
class MultiVector(Validated):
    """CachedMultiVectorMultipleNegativesRankingLoss, or without `mini_batch_size` its uncached form.

    Attributes:
        mini_batch_size: texts of a mini-batch, and queries that are scored at a time.
        mini_batch_num_tokens: tokens of a mini-batch in place of that.
        python: see `Peer`.
    """

    mini_batch_size: Positive | None = None
    mini_batch_num_tokens: Positive | None = None
    python: str | None = None
    heads: ClassVar[frozenset[str]] = frozenset({"colbert"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`."""
        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.multi_vector_encoder import losses

        model = MultiVectorEncoder(workload.model.path, **workload.loading)
        features: list[dict[str, Any]] = []
        for number, texts in enumerate(workload.columns):
            task = "document" if number else "query"
            tokens = model.preprocess(list(texts), prompt=model.prompts.get(task), task=task)
            features.append({key: moved(value, workload.device) for key, value in tokens.items()} | {"task": task})
        scale = 1.0 / workload.temperature
        if self.mini_batch_size:
            objective: nn.Module = losses.CachedMultiVectorMultipleNegativesRankingLoss(
                model,
                scale=scale,
                mini_batch_size=self.mini_batch_size,
                mini_batch_num_tokens=self.mini_batch_num_tokens,
            )
        else:
            objective = losses.MultiVectorMultipleNegativesRankingLoss(model, scale=scale)
        return model, lambda: objective([dict(column) for column in features], None)

    def gradient_scale(self, workload: Workload) -> float:
        """See `Peer`: exact."""
        return 1.0
