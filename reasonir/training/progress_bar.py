"""Optimiser steps on the terminal."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from lightning import Callback, LightningModule, Trainer

from reasonir.training.module import RetrieverModule
from reasonir.utils.progress import counting


class TrainingBar(Callback):
    """Optimiser steps on the terminal, in the display that encoding for the development metric joins."""

    def __init__(self) -> None:
        self._shown = ExitStack()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar where training starts, or goes on."""
        assert isinstance(pl_module, RetrieverModule)
        bar = counting("Training", pl_module.steps, done=trainer.global_step, unit="step")
        self._bar = self._shown.enter_context(bar)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Move it, with the loss as often as that is logged: reading it waits for the device."""
        step, what = trainer.global_step, None
        if step == 1 or step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            what = f"Training, loss {trainer.callback_metrics['loss']:.3f}"
        self._bar.reach(step, what)

    def on_train_end(self, *_: Any) -> None:
        """Close it."""
        self._shown.close()

    def on_exception(self, *_: Any) -> None:
        """Close it."""
        self._shown.close()
