"""Work after an optimiser step, always in this order: numbers, development metric, weights, checkpoint, stop.

One callback does it all so that a checkpoint contains everything that happened before it, whenever the run is killed:
numbers are logged, the metric is computed, the best weights are saved, and only then the checkpoint is written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from reasonir.data.batch import Batch
from reasonir.distributed.ranks import present_ranks
from reasonir.errors import InputError
from reasonir.eval.stats import ranking_metrics
from reasonir.eval.systems import System
from reasonir.model.encoder import Encoder
from reasonir.runs.metrics_csv import History
from reasonir.training.checkpoints import AtomicCheckpointIO, best_name, checkpoint_name, newest, read_best, step_of
from reasonir.training.fsdp import whole
from reasonir.training.gradients import loss_scaler
from reasonir.training.interrupt import Interrupt
from reasonir.training.module import RetrieverModule
from reasonir.training.nonfinite import GRADIENT_NORM, Finding, NonFiniteGuard, nonfinite_weights
from reasonir.training.optim import steps_taken
from reasonir.training.options import CheckpointOptions, DevEvalOptions, EarlyStoppingOptions
from reasonir.training.throughput import Throughput
from reasonir.types import Task
from reasonir.utils.memory_meter import peak_memory_gib
from reasonir.utils.tensor_files import write_tensors

log = logging.getLogger(__name__)
_DEV_METRICS = ("ndcg_at_10", "recall_at_100", "mrr", "map")


class TrainingMonitor(Callback):
    """Log, evaluate, save and stop after optimiser steps.

    Args:
        folder: of the checkpoints.
        dev: the development task; None for none.
        system: ranks the development task with an encoder.
        interrupt: requests a stop after the current step.
        history: the run's metrics.csv, whose checksum each checkpoint has; None for none.
        checkpoint: when to save.
        dev_eval: when to evaluate.
        early_stopping: when to stop.
    """

    def __init__(
        self,
        folder: Path,
        dev: Task | None,
        system: Callable[[Encoder], System],
        interrupt: Interrupt,
        *,
        history: History | None = None,
        checkpoint: CheckpointOptions,
        dev_eval: DevEvalOptions,
        early_stopping: EarlyStoppingOptions,
    ) -> None:
        self.history = history
        self.checkpoint = checkpoint
        self.dev_eval = dev_eval
        self.patience = early_stopping.patience
        self.folder = folder
        self.dev = dev
        self.system = system
        self.interrupt = interrupt
        self.best: float | None = None
        self.best_step = 0
        self.best_digest = ""
        self.without_improvement = 0
        self._step = 0
        self._lr = 0.0
        self._throughput = Throughput()
        self._guard = NonFiniteGuard()

    @property
    def best_file(self) -> Path:
        """The weights with the best development metric so far."""
        return self.folder / best_name(self.best_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that early stopping and the best weights depend on."""
        return {
            "best": self.best,
            "best_step": self.best_step,
            "best_digest": self.best_digest,
            "without_improvement": self.without_improvement,
            "history": self.history.mark() if self.history else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.best_digest = state_dict.get("best_digest", "")
        self.without_improvement = state_dict["without_improvement"]
        if self.history and (mark := state_dict.get("history")):
            self.history.check(mark)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the counters, and delete files of later steps, which an abandoned run left here."""
        self._step = trainer.global_step
        if trainer.is_global_zero:
            for file in [*newest(self.folder), *self._best_files()]:
                if step_of(file) > self._step:
                    file.unlink()
        self._throughput = Throughput()
        self._guard = NonFiniteGuard(scaled=loss_scaler(trainer) is not None)
        self.interrupt.training_starts()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Record the data wait, and the learning rate, which the schedule changes before the step's end."""
        self._throughput.batch_starts()
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log, evaluate, save and stop if this batch completed an optimiser step."""
        assert isinstance(pl_module, RetrieverModule)
        self._throughput.add_tokens(batch.token_count)
        stepped = trainer.global_step != self._step
        self._guard.watch(self._step + 1, batch.step, pl_module.terms[-1])
        if stepped:
            self._step = trainer.global_step
            assert pl_module.norm is not None
            self._guard.watch(self._step, batch.step, {GRADIENT_NORM: pl_module.norm})
            self._after_step(trainer, pl_module, self._step, batch.step)
        self._throughput.batch_ends()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals end the run at once again."""
        self.interrupt.training_ends()

    def load_best(self, encoder: Encoder) -> None:
        """Load the weights with the best development metric into the encoder, if there was a development evaluation.

        Raises:
            InputError: they are missing or damaged.
        """
        if self.best is not None:
            encoder.load_state_dict(read_best(self.folder, self.best_step, self.best_digest))
            log.info("Best checkpoint: step %d (dev nDCG@10 %.4f)", self.best_step, self.best)

    def load_last(self, encoder: Encoder) -> None:
        """Load the weights of the last checkpoint into an encoder that was not trained."""
        checkpoint = AtomicCheckpointIO().load_checkpoint(newest(self.folder)[0])
        encoder.load_state_dict(_encoder_weights(checkpoint["state_dict"]))

    def _after_step(self, trainer: Trainer, pl_module: RetrieverModule, step: int, batch: int) -> None:
        last = step >= pl_module.steps
        evaluates = self.dev is not None and (last or step % self._dev_every(trainer) == 0)
        saves = last or step % self.checkpoint.every_n_steps == 0
        self._refuse_nonfinite(trainer, pl_module, batch, wait=evaluates or saves)
        self._log_training(trainer, pl_module, step)
        if evaluates:
            self._evaluate(trainer, pl_module, step)
        received = present_ranks().most(self.interrupt.received or 0)
        self.interrupt.received = received or None  # a signal to one rank stops all of them
        stop = bool(received) or trainer.should_stop
        if stop and not saves:
            self._refuse_nonfinite(trainer, pl_module, batch, wait=True)
        if saves or stop:
            self._save(trainer, step)
        trainer.should_stop = stop

    def _refuse_nonfinite(self, trainer: Trainer, module: RetrieverModule, batch: int, *, wait: bool) -> None:
        """End training at a number that is not finite; with `wait` all numbers so far and the weights are checked.

        Raises:
            InputError: on every rank, if any rank has one.
        """
        ranks = present_ranks()
        wait = wait or ranks.size > 1  # ranks have to stop at the same step
        finding = self._guard.first(wait=wait)
        if finding is None and wait and (reason := nonfinite_weights(module)):
            finding = Finding(self._step, batch, reason)
        if ranks.most(int(finding is not None)):
            finding = finding or Finding(self._step, batch, "another rank has a number that is not finite (its log)")
            queries = trainer.datamodule.queries(finding.batch, ranks) if trainer.datamodule else []  # type: ignore[attr-defined]
            raise InputError(finding.message(queries))

    def _dev_every(self, trainer: Trainer) -> int:
        steps_per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
        return self.dev_eval.every_n_steps or max(1, steps_per_epoch)

    def _log_training(self, trainer: Trainer, module: RetrieverModule, step: int) -> None:
        batches, module.terms = module.terms, []
        if step % trainer.log_every_n_steps and step != 1:  # type: ignore[attr-defined]
            return
        rates = self._throughput.rates(present_ranks().size)
        means = {f"train/{name}": torch.stack([terms[name] for terms in batches]).mean() for name in batches[0]}
        values = {name: float(trainer.strategy.reduce(mean, reduce_op="mean")) for name, mean in means.items()}
        values["train/lr"] = self._lr
        if module.norm is not None and bool(module.norm.isfinite()):  # else the loss scaler skipped the step
            values["train/grad_norm"] = float(module.norm)
        if (scaler := loss_scaler(trainer)) is not None:
            values["train/loss_scale"] = scaler.get_scale()
            values["train/skipped_steps"] = step - steps_taken(trainer.optimizers[0])
        values |= {f"train/{name}": rate for name, rate in rates.items()}
        values["train/peak_memory_gib"] = peak_memory_gib(module.device)
        _log(trainer, values, step)

    def _evaluate(self, trainer: Trainer, module: RetrieverModule, step: int) -> None:
        assert self.dev is not None
        started = time.perf_counter()
        with whole(trainer.strategy.model):
            run = self.system(module.encoder)(self.dev)
        per_query = ranking_metrics.per_query(run, self.dev.qrels, relevant_from=self.dev.relevant_from)
        metrics = ranking_metrics.mean(per_query)
        _log(trainer, {f"dev/{name}": metrics[name] for name in _DEV_METRICS}, step)
        value = float(trainer.strategy.broadcast(metrics[ranking_metrics.DEV_METRIC]))  # the same decision on all ranks
        log.info("Step %d: dev nDCG@10 %.4f", step, value)
        self._compare_with_best(trainer, value, step)
        self._throughput.exclude(time.perf_counter() - started)

    def _compare_with_best(self, trainer: Trainer, value: float, step: int) -> None:
        """Save the weights if the metric improved, otherwise stop when the patience is used up."""
        if self.best is None or value > self.best:
            self.best, self.best_step, self.without_improvement = value, step, 0
            self.best_digest = _save_weights(trainer, self.best_file)
            return
        self.without_improvement += 1
        if self.patience and self.without_improvement >= self.patience:
            log.info("Early stopping: no improvement in %d development evaluations", self.without_improvement)
            trainer.should_stop = True

    def _save(self, trainer: Trainer, step: int) -> None:
        trainer.save_checkpoint(self.folder / checkpoint_name(step), weights_only=False)
        if trainer.is_global_zero:  # only now: an older checkpoint may refer to earlier best weights
            checkpoints = newest(self.folder)
            needed = {self._best_at(step_of(file)) for file in checkpoints[: self.checkpoint.keep_last]}
            superseded = [file for file in self._best_files() if file != self.best_file and file not in needed]
            for old in [*checkpoints[self.checkpoint.keep_last :], *superseded]:
                old.unlink()

    def _best_files(self) -> list[Path]:
        return sorted(self.folder.glob("best_*.safetensors"))

    def _best_at(self, step: int) -> Path | None:
        """The best weights at a checkpoint of this step."""
        return max((file for file in self._best_files() if step_of(file) <= step), key=step_of, default=None)


def _log(trainer: Trainer, values: dict[str, float], step: int) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(values, step)


def _save_weights(trainer: Trainer, file: Path) -> str:
    """Write the encoder's weights on rank 0 and return their digest; every rank takes part in gathering them."""
    state = trainer.strategy.lightning_module_state_dict()
    return write_tensors(file, _encoder_weights(state)) if trainer.is_global_zero else ""


def _encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's part of a module's weights."""
    prefix = "encoder."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
