"""Our engine on one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn

from reasonir.benchmarking.base import Workload
from reasonir.distributed.ranks import Alone
from reasonir.engine.step import run_step
from reasonir.loss.base import Objective
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive


@dataclass(frozen=True, slots=True)
class Ours:
    """The training step of `reasonir.train`: contrastive for retrievers, binary cross entropy for rerankers.

    Attributes:
        recompute: keep no graphs, as peers' cached losses do; otherwise those that fit the plan's budget.
    """

    recompute: bool = False
    heads: ClassVar[frozenset[str]] = frozenset({"colbert", "biencoder", "cross_encoder", "yes_no"})
    python: ClassVar[None] = None

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`."""
        encoder = workload.model.load(seed=0).to(workload.device)
        objective: Objective = Bce() if encoder.head.reads_pairs else CachedContrastive(workload.temperature)
        budget = replace(workload.budget, max_saved_tokens=0) if self.recompute else workload.budget
        batch = workload.batch(encoder.head.tokenizer)
        with workload.number_format():
            _ = encoder.packs  # found out by passes that are no part of a step
        return encoder, lambda: run_step(encoder, objective, batch, budget, Alone())["loss"]

    def gradient_scale(self, workload: Workload) -> float:
        """See `Peer`: exact."""
        return 1.0
