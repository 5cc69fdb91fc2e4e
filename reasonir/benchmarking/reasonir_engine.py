"""Training step of this package's engine on one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn

from reasonir.benchmarking.base import Peer, Workload
from reasonir.distributed.ranks import Alone
from reasonir.engine.step import run_step
from reasonir.loss.base import Objective
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.model.backbone import Model


def objective_of(model: Model, temperature: float) -> Objective:
    """Return the objective of a model's step: contrastive for retrievers, binary cross entropy for rerankers."""
    return Bce() if model.reads_pairs else CachedContrastive(temperature)


@dataclass(frozen=True, slots=True)
class ReasonirEngine(Peer):
    """Training step of `reasonir.train`: contrastive for retrievers, binary cross entropy for rerankers.

    Attributes:
        recompute: save no activations, like peers' cached losses; by default those within the plan's budget are saved.
    """

    recompute: bool = False
    heads: ClassVar[frozenset[str]] = frozenset({"colbert", "biencoder", "cross_encoder", "yes_no"})

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """See `Peer`."""
        encoder = workload.model.load(seed=0).to(workload.device)
        objective = objective_of(workload.model, workload.temperature)
        budget = replace(workload.budget, max_saved_tokens=0) if self.recompute else workload.budget
        batch = workload.batch(encoder.head.tokenizer)
        with workload.number_format():
            _ = encoder.packs  # its self-check runs forward passes, so before the step
        return encoder, lambda: run_step(encoder, objective, batch, budget, Alone())["loss"]
