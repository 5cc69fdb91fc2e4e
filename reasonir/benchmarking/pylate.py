"""PyLate's contrastive losses, called as in its documentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from reasonir.benchmarking.base import Peer, Workload
from reasonir.utils.ranges import Positive, Validated


@dataclass(frozen=True, slots=True)
class PyLate(Peer, Validated):
    """PyLate's Contrastive, or CachedContrastive with `mini_batch_size` (gradients are batch size times too large)."""

    mini_batch_size: Positive | None = None
    heads: ClassVar[frozenset[str]] = frozenset({"colbert"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`; texts are tokenised as in PyLate's collator."""
        from pylate import losses
        from pylate.models import ColBERT

        model = ColBERT(workload.model.path, **workload.load_options)
        features: list[dict[str, Any]] = []
        for number, texts in enumerate(workload.columns):
            tokens = model.tokenize(list(texts), is_query=number == 0, pad=True)
            features.append({key: value.to(workload.device) for key, value in tokens.items()})
        if self.mini_batch_size:
            objective: nn.Module = losses.CachedContrastive(
                model, mini_batch_size=self.mini_batch_size, temperature=workload.temperature
            )
        else:
            objective = losses.Contrastive(model, temperature=workload.temperature)
        return model, lambda: objective([dict(column) for column in features], None)

    def gradient_scale(self, workload: Workload) -> float:
        """See `Peer`."""
        return float(len(workload.columns[0])) if self.mini_batch_size else 1.0
