"""What happens after an optimiser step, always in this order: numbers, development metric, checkpoint, stop.

One callback does it all so that a checkpoint contains everything that happened up to it, whenever the run is killed:
the numbers are logged, the metric is known, the best weights are saved, and only then the checkpoint is written.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from safetensors.torch import load_file, save_file
from torch import Tensor

from reasonir.data.batch import Batch
from reasonir.distributed.ranks import present_ranks
from reasonir.errors import InputError
from reasonir.eval.stats import ranking_metrics
from reasonir.eval.systems import System
from reasonir.model.encoder import Encoder
from reasonir.training.checkpoints import AtomicCheckpointIO, checkpoint_name, newest, step_of
from reasonir.training.fsdp import whole
from reasonir.training.module import RetrieverModule
from reasonir.training.nonfinite import GRADIENT_NORM, Finding, NonFiniteGuard, nonfinite_weights
from reasonir.types import Task
from reasonir.utils.files import atomic_path
from reasonir.utils.memory_meter import peak_memory_gib
from reasonir.utils.ranges import Positive, Validated

log = logging.getLogger(__name__)
_DEV_METRICS = ("ndcg_at_10", "recall_at_100", "mrr", "map")


@dataclass(frozen=True, slots=True)
class CheckpointOptions(Validated):
    """Resumable checkpoints.

    Attributes:
        every_n_steps: optimiser steps between two.
        keep_last: how many of the newest stay.
    """

    every_n_steps: Positive = 100
    keep_last: Positive = 2


@dataclass(frozen=True, slots=True)
class DevEvalOptions(Validated):
    """Evaluation on the development queries while training.

    Attributes:
        every_n_steps: optimiser steps between two; None for one per epoch.
    """

    every_n_steps: Positive | None = None


@dataclass(frozen=True, slots=True)
class EarlyStoppingOptions(Validated):
    """Early stopping on the development metric.

    Attributes:
        patience: development evaluations without improvement after which training stops; None never stops early.
    """

    patience: Positive | None = None


class Interrupt:
    """Turns SIGINT and SIGTERM into a wish to stop that training fulfils after its present step.

    While no training runs, and when a signal comes a second time, the block it guards ends at once. Either way the
    process ends with status 128 + signal.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._training = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self._listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.received is not None and kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit):
            raise SystemExit(128 + self.received)

    def training_starts(self) -> None:
        """From here on the first signal waits for the step's end (Lightning has put handlers of its own in place)."""
        self._training = True
        self._listen()

    def training_ends(self) -> None:
        """From here on a signal doesn't wait."""
        self._training = False

    def _listen(self) -> None:
        for number in self._previous:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        again, self.received = self.received is not None, number
        if again or not self._training:
            raise KeyboardInterrupt
        log.warning("%s: stopping after this step with a checkpoint", signal.Signals(number).name)


class TrainingMonitor(Callback):
    """Logs, judges, saves and stops after optimiser steps.

    Args:
        folder: checkpoints go here.
        dev: the development task, or None.
        system: ranks the development task with an encoder.
        interrupt: asked after each step whether to stop.
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
        checkpoint: CheckpointOptions,
        dev_eval: DevEvalOptions,
        early_stopping: EarlyStoppingOptions,
    ) -> None:
        self.checkpoint = checkpoint
        self.dev_eval = dev_eval
        self.patience = early_stopping.patience
        self.folder = folder
        self.dev = dev
        self.system = system
        self.interrupt = interrupt
        self.best: float | None = None
        self.best_step = 0
        self.without_improvement = 0
        self._step = 0
        self._tokens = 0
        self._since = self._ended = time.perf_counter()
        self._waited = 0.0
        self._lr = 0.0
        self._guard = NonFiniteGuard()

    @property
    def best_file(self) -> Path:
        """The weights of the best development metric so far."""
        return self.folder / f"best_{self.best_step:08d}.safetensors"

    def state_dict(self) -> dict[str, Any]:
        """What early stopping and the choice of the best depend on."""
        return {
            "best": self.best,
            "best_step": self.best_step,
            "without_improvement": self.without_improvement,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.without_improvement = state_dict["without_improvement"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of where training starts; what an abandoned continuation left behind this step goes."""
        self._step = trainer.global_step
        if trainer.is_global_zero:
            for file in [*newest(self.folder), *self._bests()]:
                if step_of(file) > self._step:
                    file.unlink()
        self._tokens, self._waited, self._since = 0, 0.0, time.perf_counter()
        self._ended = self._since
        self._guard = NonFiniteGuard(scaled=getattr(trainer.precision_plugin, "scaler", None) is not None)
        self.interrupt.training_starts()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Note the wait for the batch, and the learning rate, which the schedule changes before the step's end."""
        self._waited += time.perf_counter() - self._ended
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log, evaluate, save and stop where this batch completed an optimiser step."""
        assert isinstance(pl_module, RetrieverModule)
        self._tokens += batch.token_count
        stepped = trainer.global_step != self._step
        self._guard.watch(self._step + 1, batch.step, pl_module.terms[-1])
        if stepped:
            self._step = trainer.global_step
            assert pl_module.norm is not None
            self._guard.watch(self._step, batch.step, {GRADIENT_NORM: pl_module.norm})
            self._step_ended(trainer, pl_module, self._step, batch.step)
        self._ended = time.perf_counter()

    def _step_ended(self, trainer: Trainer, pl_module: RetrieverModule, step: int, batch: int) -> None:
        last = step >= pl_module.steps
        judged = self.dev is not None and (last or step % self._dev_every(trainer) == 0)
        saved = last or step % self.checkpoint.every_n_steps == 0
        self._refuse_nonfinite(trainer, pl_module, batch, wait=judged or saved)
        self._log_training(trainer, pl_module, step)
        if judged:
            self._judge(trainer, pl_module, step)
        received = present_ranks().most(self.interrupt.received or 0)
        self.interrupt.received = received or None  # a signal to one rank is one to all
        stop = bool(received) or trainer.should_stop
        if stop and not saved:
            self._refuse_nonfinite(trainer, pl_module, batch, wait=True)
        if saved or stop:
            self._save(trainer, step)
        trainer.should_stop = stop

    def _refuse_nonfinite(self, trainer: Trainer, module: RetrieverModule, batch: int, *, wait: bool) -> None:
        """End training where a number is not finite; with `wait` all numbers so far and the weights are looked at.

        Raises:
            InputError: one is not; with several ranks on every rank.
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

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the interrupt."""
        self.interrupt.training_ends()

    def load_best(self, encoder: Encoder) -> None:
        """Give the encoder the weights of the best development metric, where there was one."""
        if self.best_file.is_file():
            encoder.load_state_dict(load_file(self.best_file))
            log.info("Best checkpoint: step %d (dev nDCG@10 %.4f)", self.best_step, self.best)

    def load_last(self, encoder: Encoder) -> None:
        """Give an encoder that took no part in training the weights of the last checkpoint."""
        checkpoint = AtomicCheckpointIO().load_checkpoint(newest(self.folder)[0])
        encoder.load_state_dict(_of_encoder(checkpoint["state_dict"]))

    def _dev_every(self, trainer: Trainer) -> int:
        a_pass = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
        return self.dev_eval.every_n_steps or max(1, a_pass)

    def _log_training(self, trainer: Trainer, module: RetrieverModule, step: int) -> None:
        terms, module.terms = module.terms, []
        if step % trainer.log_every_n_steps and step != 1:  # type: ignore[attr-defined]
            return
        ranks = present_ranks()
        now = time.perf_counter()
        values = {f"train/{name}": torch.stack([each[name] for each in terms]).mean() for name in terms[0]}
        logged = {name: float(trainer.strategy.reduce(value, reduce_op="mean")) for name, value in values.items()}
        logged["train/lr"] = self._lr
        if module.norm is not None and bool(module.norm.isfinite()):  # else the loss scaler skipped the step
            logged["train/grad_norm"] = float(module.norm)
        logged["train/tokens_per_s"] = self._tokens * ranks.size / (now - self._since)
        logged["train/data_wait"] = self._waited / (now - self._since)  # a share of the time
        logged["train/seconds"] = now - self._since  # since the last time
        logged["train/peak_memory_gib"] = peak_memory_gib(module.device)
        self._tokens, self._since, self._waited = 0, now, 0.0
        _log(trainer, logged, step)

    def _judge(self, trainer: Trainer, module: RetrieverModule, step: int) -> None:
        assert self.dev is not None
        started = time.perf_counter()
        with whole(trainer.strategy.model):
            run = self.system(module.encoder)(self.dev)
        per_query = ranking_metrics.per_query(run, self.dev.qrels, relevant_from=self.dev.relevant_from)
        found = ranking_metrics.mean(per_query)
        _log(trainer, {f"dev/{name}": found[name] for name in _DEV_METRICS}, step)
        value = float(trainer.strategy.broadcast(found[ranking_metrics.DEV_METRIC]))  # all ranks decide by it
        log.info("Step %d: dev nDCG@10 %.4f", step, value)
        if self.best is None or value > self.best:
            self.best, self.best_step, self.without_improvement = value, step, 0
            _save_weights(trainer, self.best_file)
        else:
            self.without_improvement += 1
            if self.patience and self.without_improvement >= self.patience:
                log.info("No improvement in %d evaluations: training stops", self.without_improvement)
                trainer.should_stop = True
        self._since += time.perf_counter() - started  # the rate is that of training

    def _save(self, trainer: Trainer, step: int) -> None:
        trainer.save_checkpoint(self.folder / checkpoint_name(step), weights_only=False)
        if trainer.is_global_zero:  # a checkpoint may name an earlier best, so that goes only now
            checkpoints = newest(self.folder)
            named = {self._best_at(step_of(file)) for file in checkpoints[: self.checkpoint.keep_last]}
            superseded = [file for file in self._bests() if file != self.best_file and file not in named]
            for old in [*checkpoints[self.checkpoint.keep_last :], *superseded]:
                old.unlink()

    def _bests(self) -> list[Path]:
        return sorted(self.folder.glob("best_*.safetensors"))

    def _best_at(self, step: int) -> Path | None:
        """The best weights that a checkpoint of this step names."""
        return max((file for file in self._bests() if step_of(file) <= step), key=step_of, default=None)


def _log(trainer: Trainer, values: dict[str, float], step: int) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(values, step)


def _save_weights(trainer: Trainer, file: Path) -> None:
    """Write the encoder's weights; every rank takes part, the first one writes."""
    state = trainer.strategy.lightning_module_state_dict()
    if not trainer.is_global_zero:
        return
    with atomic_path(file) as partial:
        save_file({name: value.contiguous() for name, value in _of_encoder(state).items()}, partial)


def _of_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's part of a module's weights."""
    prefix = "encoder."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
