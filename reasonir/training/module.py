"""The LightningModule: one engine step a batch, everything else Lightning's.

Automatic optimisation stays in charge of clipping, loss scaling and accumulation. What is random in a step is a
function of (seed, batch number, rank), so a resumed run draws what the interrupted one would have drawn.
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
from reasonir.training.gradients import clip, unscale
from reasonir.training.optim import Optim

_SHARDED = "sharded"


class RetrieverModule(LightningModule):
    """Trains an encoder with an objective.

    Args:
        encoder: backbone and head.
        objective: what is minimised.
        optim: optimiser and schedule.
        budget: how a step is fitted into memory, to begin with.
        steps: optimiser steps of the whole training, for the schedule.
        seed: of everything random in a step.
        refitted: told of every smaller budget after running out of memory, with what was reported.
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
        refitted: Callable[[Budget, str], None] = lambda budget, reason: None,
        hparams: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.optim = optim
        self.repeater = OomRetry(budget, refitted)
        self.steps = steps
        self.seed = seed
        self.save_hyperparameters(dict(hparams or {}), logger=False)
        self.norm: Tensor | None = None
        """The gradients' norm in the last optimiser step, before they were clipped."""
        self.terms: list[dict[str, Tensor]] = []
        """The terms of the batches since the last optimiser step, this rank's shares."""
        self._repeated: tuple[Batch | PairBatch, Tensor, Tensor] | None = None
        """What the backward pass may have to begin with again: the batch, its loss, and what was returned for it."""

    def training_step(self, batch: Batch | PairBatch, batch_idx: int) -> Tensor:
        """The loss of a batch; alone on its device, a step that runs out of memory is repeated with less of it."""
        ranks = present_ranks()
        self._repeated = None
        if ranks.size > 1 or self.repeater.budget.equal_passes:
            terms = self._terms(batch, self.repeater.budget, ranks)
            loss = terms["loss"]
        else:
            terms = self.repeater.until_it_fits(
                lambda budget: self._terms(batch, budget, ranks), longest=int(batch.tokens.lengths_N.max())
            )
            loss = terms["loss"].detach().requires_grad_()
            self._repeated = (batch, terms["loss"], loss)
        self.terms.append({name: value.detach() for name, value in terms.items()})
        self.log("loss", self.terms[-1]["loss"], logger=False, batch_size=len(batch))
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backpropagate what `training_step` returned, however Lightning has scaled it since."""
        if self._repeated is None:
            super().backward(loss, *args, **kwargs)
            return
        batch, exact, returned = self._repeated
        self._repeated = None
        (scale,) = torch.autograd.grad(loss, returned)
        attempts, ready = GradientStash(self.parameters()), [exact]
        del exact

        def attempt(budget: Budget) -> None:
            attempts.clear()
            self._again(batch, ready, budget).backward(scale)  # type: ignore[no-untyped-call]

        self.repeater.until_it_fits(attempt, longest=int(batch.tokens.lengths_N.max()))
        attempts.add_back()

    def _again(self, batch: Batch | PairBatch, ready: list[Tensor], budget: Budget) -> Tensor:
        """The loss with its graph: the one of the forward pass, then one of a smaller budget each time."""
        if ready:
            return ready.pop()
        with self.trainer.precision_plugin.train_step_context():
            return self._terms(batch, budget, present_ranks())["loss"]

    def _terms(self, batch: Batch | PairBatch, budget: Budget, ranks: Ranks) -> Mapping[str, Tensor]:
        torch.manual_seed(_step_seed(self.seed, batch.step, ranks.rank))
        return run_step(self.encoder, self.objective, batch, budget, ranks)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note whether the optimiser's state is one of sharded weights, which others can't take over."""
        checkpoint[_SHARDED] = is_sharded(self.trainer.strategy.model)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a state that this strategy can't take over.

        Raises:
            InputError: only one of the two shards its weights.
        """
        was, now = checkpoint.get(_SHARDED, False), is_sharded(self.trainer.strategy.model)
        if was != now:
            raise InputError(
                f"the checkpoint was made {'with' if was else 'without'} FSDP, whose optimiser has a state of its own: "
                f"resume {'with hardware=fsdp' if was else 'without it'}, on any number of devices"
            )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Divide the loss scale out of the gradients, clip them and keep their norm; called without a limit as well."""
        unscale(getattr(self.trainer.precision_plugin, "scaler", None), optimizer)
        parameters = self.trainer.precision_plugin.main_params(optimizer)
        self.norm = clip(self.trainer.strategy.model, parameters, gradient_clip_val, gradient_clip_algorithm)

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
