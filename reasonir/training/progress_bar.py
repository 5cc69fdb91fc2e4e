"""Progress bar of the optimiser steps."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from lightning import Callback, LightningModule, Trainer

from reasonir.training.module import RetrieverModule
from reasonir.utils.progress import counting


class TrainingBar(Callback):
    """Progress bar of the optimiser steps, in the same display as the bars of development evaluations."""

    def __init__(self) -> None:
        self._shown = ExitStack()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the current step."""
        assert isinstance(pl_module, RetrieverModule)
        bar = counting("Training", pl_module.steps, done=trainer.global_step, unit="step")
        self._bar = self._shown.enter_context(bar)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Advance the bar, and show the loss as often as it is logged: reading it waits for the device."""
        step, label = trainer.global_step, None
        if step == self._bar.done:
            return  # a batch of an unfinished step
        if step == 1 or step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            label = f"Training, loss {trainer.callback_metrics['loss']:.3f}"
        self._bar.reach(step, label)

    def on_train_end(self, *_: Any) -> None:
        """Close the bar."""
        self._shown.close()

    def on_exception(self, *_: Any) -> None:
        """Close the bar."""
        self._shown.close()
