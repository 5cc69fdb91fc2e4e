"""sentence-transformers' late interaction, from its version 6 on: the strongest peer.

It loads PyLate's format; the markers "[Q] " and "[D] " are prompts before the text, as in its collator. Masked tokens
are left out of the maximum, as in this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from reasonir.benchmarking.base import Peer, Workload
from reasonir.benchmarking.sentence_transformers import to_device
from reasonir.utils.ranges import Positive, Validated


@dataclass(frozen=True, slots=True)
class MultiVector(Peer, Validated):
    """CachedMultiVectorMultipleNegativesRankingLoss, or its uncached form without `mini_batch_size`.

    Attributes:
        mini_batch_size: texts per mini-batch, and queries scored at a time.
        mini_batch_num_tokens: tokens per mini-batch, instead of texts.
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

        model = MultiVectorEncoder(workload.model.path, **workload.load_options)
        features: list[dict[str, Any]] = []
        for number, texts in enumerate(workload.columns):
            task = "document" if number else "query"
            tokens = model.preprocess(list(texts), prompt=model.prompts.get(task), task=task)
            features.append({key: to_device(value, workload.device) for key, value in tokens.items()} | {"task": task})
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
