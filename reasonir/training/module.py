"""LightningModule: one engine step per batch; clipping, loss scaling and accumulation are Lightning's.

The random state of a step is a function of (seed, batch number, rank), so a resumed run repeats the interrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from reasonir.data.batch import Batch, PairBatch
from reasonir.distributed.ranks import Ranks, present_ranks
from reasonir.engine.oom_retry import GradientStash, OomRetry
from reasonir.engine.step import Budget, run_step
from reasonir.errors import InputError
from reasonir.loss.base import Objective
from reasonir.model.encoder import Encoder
from reasonir.training.fsdp import is_sharded
from reasonir.training.gradients import clip, loss_scaler, unscale
from reasonir.training.optim import Optim

_SHARDED = "sharded"


class RetrieverModule(LightningModule):
    """Training of an encoder with an objective.

    Args:
        encoder: backbone and head.
        objective: the loss to minimise.
        optim: optimiser and schedule.
        budget: initial memory budget of a step.
        steps: optimiser steps of the whole training, for the schedule.
        seed: of everything random in a step.
        on_smaller_budget: called with the new budget and the error message after running out of memory.
        hparams: the resolved configuration as plain values, saved in checkpoints.
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
        on_smaller_budget: Callable[[Budget, str], None] = lambda budget, reason: None,
        hparams: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.optim = optim
        self.oom_retry = OomRetry(budget, on_smaller_budget)
        self.steps = steps
        self.seed = seed
        self.save_hyperparameters(dict(hparams or {}), logger=False)
        self.norm: Tensor | None = None
        """The gradient norm of the last optimiser step, before clipping."""
        self.terms: list[dict[str, Tensor]] = []
        """This rank's loss terms of the batches since the last optimiser step."""
        self._repeatable: tuple[Batch | PairBatch, Tensor, Tensor] | None = None
        """The batch, its loss and the tensor returned for it, in case the backward pass has to be repeated."""

    def training_step(self, batch: Batch | PairBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; with a single rank, a step that runs out of memory is repeated with less."""
        ranks = present_ranks()
        self._repeatable = None
        if ranks.size > 1 or self.oom_retry.budget.equal_passes:
            terms = self._terms(batch, self.oom_retry.budget, ranks)
            loss = terms["loss"]
        else:
            terms = self.oom_retry.until_it_fits(
                lambda budget: self._terms(batch, budget, ranks), longest=int(batch.tokens.lengths_N.max())
            )
            loss = terms["loss"].detach().requires_grad_()
            self._repeatable = (batch, terms["loss"], loss)
        self.terms.append({name: value.detach() for name, value in terms.items()})
        self.log("loss", self.terms[-1]["loss"], logger=False, batch_size=len(batch))
        return loss * self._window_share(batch_idx)

    def _window_share(self, batch_idx: int) -> float:
        """Return what a batch counts for in its optimiser step, over the 1/N that Lightning gives each of N batches.

        More than 1 in the last step of a pass, if fewer than N batches are left for it.
        """
        window, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        left = batches % window
        return window / left if left and batch_idx >= batches - left else 1.0

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backpropagate the loss that `training_step` returned, with the scale that Lightning has applied to it."""
        if self._repeatable is None:
            super().backward(loss, *args, **kwargs)
            return
        batch, exact, returned = self._repeatable
        self._repeatable = None
        (scale,) = torch.autograd.grad(loss, returned)
        stash, computed = GradientStash(self.parameters()), [exact]
        del exact

        def attempt(budget: Budget) -> None:
            stash.clear()
            self._loss_with_graph(batch, computed, budget).backward(scale)  # type: ignore[no-untyped-call]

        self.oom_retry.until_it_fits(attempt, longest=int(batch.tokens.lengths_N.max()))
        stash.add_back()

    def _loss_with_graph(self, batch: Batch | PairBatch, computed: list[Tensor], budget: Budget) -> Tensor:
        """Return the forward pass's loss the first time, then recompute it with the given budget."""
        if computed:
            return computed.pop()
        with self.trainer.precision_plugin.train_step_context():
            return self._terms(batch, budget, present_ranks())["loss"]

    def _terms(self, batch: Batch | PairBatch, budget: Budget, ranks: Ranks) -> Mapping[str, Tensor]:
        torch.manual_seed(_step_seed(self.seed, batch.step, ranks.rank))
        return run_step(self.encoder, self.objective, batch, budget, ranks)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record whether the optimiser's state belongs to sharded weights."""
        checkpoint[_SHARDED] = is_sharded(self.trainer.strategy.model)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse an optimiser state that this strategy can't load.

        Raises:
            InputError: only one of checkpoint and strategy shards its weights.
        """
        was, now = checkpoint.get(_SHARDED, False), is_sharded(self.trainer.strategy.model)
        if was != now:
            raise InputError(
                f"the checkpoint was made {'with' if was else 'without'} FSDP, whose optimiser state differs: "
                f"resume {'with hardware=fsdp' if was else 'without it'}, on any number of devices"
            )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Divide the loss scale out of the gradients, record their norm and clip them, if there is a limit."""
        unscale(loss_scaler(self.trainer), optimizer)
        parameters = self.trainer.precision_plugin.main_params(optimizer)
        self.norm = clip(self.trainer.strategy.model, parameters, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule.

        The number of steps isn't taken from the trainer: its estimate would set the loader up before its state is
        restored, and a resumed run would start its data from the beginning.
        """
        optimizer = self.optim.optimizer(self.encoder)
        scheduler = self.optim.scheduler(optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Return a seed that differs for every (seed, step, rank)."""
    return (seed * 1_000_003 + step) * 4099 + rank
