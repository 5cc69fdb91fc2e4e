"""The LightningModule: one engine step a batch, everything else Lightning's.

Automatic optimisation stays in charge of clipping, loss scaling and accumulation. What is random in a step is a
function of (seed, batch number, rank), so a resumed run draws what the interrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from reasonir.loss.base import Objective
from reasonir.model.encoder import Encoder
from reasonir.training.optim import Optim
from reasonir.training.ranks import present_ranks
from reasonir.training.step import Budget, run_step
from reasonir.types import Batch, PairBatch


class RetrieverModule(LightningModule):
    """Trains an encoder with an objective.

    Args:
        encoder: backbone and head.
        objective: what is minimised.
        optim: optimiser and schedule.
        budget: how a step is fitted into memory.
        steps: optimiser steps of the whole training, for the schedule.
        seed: of everything random in a step.
        hparams: the resolved configuration as plain values, kept in checkpoints.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective,
        optim: Optim,
        budget: Budget,
        *,
        steps: int,
        seed: int,
        hparams: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.optim = optim
        self.budget = budget
        self.steps = steps
        self.seed = seed
        self.save_hyperparameters(dict(hparams or {}), logger=False)
        self.terms: list[dict[str, Tensor]] = []
        """The terms of the batches since the last optimiser step, this rank's shares."""

    def training_step(self, batch: Batch | PairBatch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        ranks = present_ranks()
        torch.manual_seed(_step_seed(self.seed, batch.step, ranks.rank))
        terms = run_step(self.encoder, self.objective, batch, self.budget, ranks)
        self.terms.append({name: value.detach() for name, value in terms.items()})
        self.log("loss", self.terms[-1]["loss"], prog_bar=True, logger=False, batch_size=len(batch))
        return terms["loss"]

    def configure_optimizers(self) -> Any:
        """The optimiser, and the schedule stepped with it.

        The number of steps is given: asking the trainer for its estimate here would set the loader up before its state
        is restored, and a resumed run would start its data from the beginning.
        """
        optimizer = self.optim.optimizer(self.encoder)
        scheduler = self.optim.scheduler(optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Distinct for every (seed, step, rank) a run can meet."""
    return (seed * 1_000_003 + step) * 4099 + rank
