"""Our engine on one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from reasonir.contender.base import Workload
from reasonir.data.collate import contrast, groups_of
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.training.ranks import Alone
from reasonir.training.step import Budget, run_step
from reasonir.types import Document, Example


@dataclass(frozen=True, slots=True)
class Ours:
    """The training step of `reasonir.train`.

    Attributes:
        recompute: keep no graphs, as peers' cached losses do; otherwise those that fit the plan's budget.
    """

    recompute: bool = False
    kind: ClassVar[frozenset[str]] = frozenset({"ColBERT", "BiEncoder"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Contender`."""
        encoder = workload.model.load(seed=0).to(workload.device)
        objective = CachedContrastive(workload.temperature)
        micro_batch, kept = workload.budget
        budget = Budget(micro_batch, 0 if self.recompute else kept)
        examples = []
        for number, (query, *texts) in enumerate(zip(*workload.columns, strict=True)):
            documents = [Document(f"{number}.{i}", text, label=float(i == 0)) for i, text in enumerate(texts)]
            examples.append(Example(str(number), query, tuple(documents)))
        batch = contrast(0, groups_of(examples), tokenize=encoder.head.tokenizer)
        return encoder, lambda: run_step(encoder, objective, batch, budget, Alone())["loss"]

    def gradient_scale(self, workload: Workload) -> float:
        """See `Contender`: exact."""
        return 1.0
