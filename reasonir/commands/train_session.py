"""One run once everything is known: baselines, training, evaluation, export, and what is kept of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning import Trainer, seed_everything
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.strategies import FSDPStrategy

from reasonir.commands.compose import TrainParts
from reasonir.distributed.encoding_pool import broadcast_weights, join_pool, run_together
from reasonir.distributed.launch import own_rank
from reasonir.engine.step import Budget
from reasonir.errors import InputError
from reasonir.eval.evaluator import ANALYSIS, Evaluation, read_benchmark
from reasonir.eval.result_table import result_table
from reasonir.eval.results import Results
from reasonir.hardware import Hardware
from reasonir.model.caching_encoder import LOCAL, EncoderBackend
from reasonir.model.encoder import Encoder
from reasonir.model.export import export
from reasonir.planning.budget_cache import BudgetCache, graph_bytes
from reasonir.planning.memory import Estimate
from reasonir.planning.plan import Plan
from reasonir.report.console import show
from reasonir.report.html.write import write_report
from reasonir.report.leaderboard import show_leaderboard
from reasonir.report.plots import plot_run
from reasonir.runs.metrics_csv import History
from reasonir.runs.provenance import DATA, TRAINED_ON
from reasonir.tracking.base import Tracking
from reasonir.tracking.tags import description
from reasonir.training.callbacks import TrainingMonitor
from reasonir.training.checkpoints import AtomicCheckpointIO, step_of
from reasonir.training.datamodule import RetrievalData
from reasonir.training.interrupt import Interrupt
from reasonir.training.module import RetrieverModule
from reasonir.training.progress_bar import TrainingBar
from reasonir.training.trainer import build_trainer

log = logging.getLogger(__name__)
_SAMPLED_WORDS = 200


class TrainingRun:
    """The stages of a run, and what they share.

    Args:
        parts: of the run, its lengths and hardware resolved.
        data: set up.
        plan: of the step.
        tracking: opened.
    """

    def __init__(self, parts: TrainParts, *, data: RetrievalData, plan: Plan, tracking: Tracking) -> None:
        self.parts = parts
        self.folder, self.hardware = parts.folder, parts.hardware
        self.data = data
        self.plan = plan
        self.tracking = tracking
        self.history = History(self.folder / "metrics.csv")
        benchmark = parts.benchmark
        tasks = read_benchmark(benchmark) if own_rank() == 0 else []
        seed_everything(parts.seed, workers=True, verbose=False)
        self.encoder = parts.model.load(seed=parts.seed)
        self.remembered = BudgetCache.of(
            parts.home,
            self.hardware,
            model=parts.model.path,
            head=self.encoder.head.name,
            batch_size=parts.loader.batch_size,
        )
        data.assemble = self.encoder.head.tokenizer.collate
        protocol = {
            "model": parts.model.path,
            **stamp(self.encoder, self.hardware, parts.index_stamp),
            "seed": parts.seed,
        }
        self.evaluation = Evaluation(
            tasks,
            parts.evaluation,
            parts.index,
            self.folder,
            protocol,
            parts.seed,
            groups=benchmark.groups,
            headline=benchmark.headline,
            analyse=benchmark.analyse,
        )

    def run(self, interrupt: Interrupt) -> float | None:
        """Judge the baselines, train, judge the trained model."""
        if self.hardware.ranks == 1:
            self.encoder.to(self.hardware.torch_device)
            self._measure()
            self.evaluation.baselines(self.encoder)
        monitor = TrainingMonitor(
            self.folder / "checkpoints",
            self.data.dev,
            self.evaluation.dev,
            interrupt,
            checkpoint=self.parts.checkpoint,
            dev_eval=self.parts.dev_eval,
            early_stopping=self.parts.early_stopping,
        )
        trainer = self._trainer(monitor)
        self._fit(trainer)
        if interrupt.received is not None:
            log.warning("Stopped after step %d; go on with resume=%s", trainer.global_step, self.folder)
            raise SystemExit(128 + interrupt.received)
        if self.hardware.ranks == 1:
            monitor.load_best(self.encoder)
            self._finish(self.encoder, monitor.best)
        else:
            self._finish_together(monitor)
        return monitor.best

    def _finish_together(self, monitor: TrainingMonitor) -> None:
        """Judge the baselines and the trained model with all ranks, in an encoder that no strategy has sharded."""
        group = join_pool()
        encoder = self.parts.model.load(seed=self.parts.seed).to(self.hardware.torch_device)
        run_together(group, encoder, partial(self.evaluation.baselines, encoder))
        if own_rank() == 0:
            monitor.load_last(encoder)
            monitor.load_best(encoder)
        broadcast_weights(group, encoder)
        run_together(group, encoder, partial(self._finish, encoder, monitor.best))

    def _measure(self) -> None:
        """Fit the step by what its graphs hold here, where that matters, and by what earlier runs came down to.

        Alone only: several ranks have to agree, and have, on the estimate.
        """
        plan = self.plan
        if plan.tight and not plan.training.recomputed:
            estimated = Estimate(plan.training, self.hardware).graph(plan.width)
            scale = graph_bytes(self.encoder, self.hardware, width=plan.width) / estimated
            plan = plan.refitted(graph_scale=scale)
            log.info("Graphs take %.2f times the bytes that the plan estimates", scale)
        if (known := self.remembered.limit(plan.budget)) != plan.budget:
            log.info("More ran out of memory before (%s)", self.remembered.file)
            plan = plan.refitted(budget=known)
        if plan is not self.plan:
            self._refit(plan)

    def _refit(self, plan: Plan) -> None:
        """Go on with another budget, and note it."""
        self.plan = plan
        log.info(
            "Micro-batches of %d tokens, %d tokens' graphs max_saved_tokens",
            plan.budget.micro_batch,
            plan.budget.max_saved_tokens,
        )
        plan.write(self.folder)
        self.tracking.artifact(self.folder / "plan.json")
        self.tracking.metrics(
            {"plan/micro_batch_tokens": plan.budget.micro_batch, "plan/max_saved_tokens": plan.budget.max_saved_tokens}
        )

    def _out_of_memory(self, budget: Budget, reason: str) -> None:
        log.warning("Out of memory (%s): the same step is taken again with half the budget", reason)
        self.remembered.keep(budget)
        self._refit(self.plan.refitted(budget=budget))

    def _trainer(self, monitor: TrainingMonitor) -> Trainer:
        csv = [self.history] if self.parts.loggers.csv else []
        loggers: Sequence[Logger] = [*csv, *self.tracking.loggers()]
        return build_trainer(
            self.parts.trainer,
            self.hardware,
            logger=loggers,
            callbacks=[TrainingBar(), monitor, *self.parts.callbacks.values()],
            plugins=(AtomicCheckpointIO(),),
            default_root_dir=str(self.folder),
        )

    def _fit(self, trainer: Trainer) -> None:
        resume = self.parts.resume
        module = RetrieverModule(
            self.encoder,
            self.parts.objective,
            self.parts.optim,
            replace(self.plan.budget, equal_passes=isinstance(trainer.strategy, FSDPStrategy)),
            steps=total_steps(self.data.batches_per_epoch(trainer.world_size), trainer),
            seed=self.parts.seed,
            on_smaller_budget=self._out_of_memory,
            hparams=self.parts.values,
        )
        if resume is not None:
            log.info("Resuming after step %d from %s", step_of(resume), resume)
            self.history.rewind(step_of(resume))
        trainer.fit(module, datamodule=self.data, ckpt_path=str(resume) if resume else None, weights_only=True)

    def _sample(self) -> list[str]:
        """A few of the training texts, not whole where they are long."""
        texts = [text.text for _, texts in self.data.sample(2).values() for text in texts]
        return [" ".join(text.split()[:_SAMPLED_WORDS]) for text in texts]

    def _finish(self, encoder: Encoder, best: float | None, workers: EncoderBackend = LOCAL) -> None:
        """Export and judge the trained model, and keep what came out."""
        encoder.to(self.hardware.torch_device)
        export(encoder, self.folder / "model", texts=self._sample(), extra={TRAINED_ON: self.folder / DATA})
        self.evaluation.evaluate(encoder, "trained", workers)
        results = self.evaluation.results
        track_results(results, "trained", self.folder, self.tracking)
        self.tracking.describe(description(results, "trained", self.folder, self.parts.line))
        for file in plot_run(self.history.curves(), results, self.folder / "plots"):
            self.tracking.artifact(file, "plots")
        if (self.folder / "metrics.csv").is_file():
            self.tracking.artifact(self.folder / "metrics.csv")
        self.tracking.model(self.folder, f"{self.data.source.name}-{encoder.head.name}", best)
        show(result_table(results, "trained"))
        show_leaderboard(self.parts.benchmark.leaderboard, results, "trained", self.folder, self.tracking)
        self.tracking.artifact(
            write_report(
                self.folder,
                self.evaluation.tasks,
                results,
                "trained",
                values=self.parts.values,
                encoder=encoder,
                run=self.folder,
            )
        )
        if self.parts.job is None:  # a sweep has a view of its own
            self.tracking.view(results.headline)
        log.info("Everything is in %s", self.folder)


def total_steps(batches: int, trainer: Trainer) -> int:
    """Optimiser steps of a training of so many batches a pass.

    Raises:
        InputError: neither passes nor steps are bounded.
    """
    a_pass = -(-batches // trainer.accumulate_grad_batches)
    bounds = [a_pass * (trainer.max_epochs or -1), trainer.max_steps]
    bounds = [bound for bound in bounds if bound > 0]
    if not bounds:
        raise InputError("training has no end: set trainer.max_epochs or trainer.max_steps")
    return min(bounds)


def stamp(encoder: Encoder, hardware: Hardware, index: Mapping[str, Any]) -> dict[str, Any]:
    """What of a model, machine and index decides a figure: lengths, prompts, number format, how it is searched."""
    return {
        **encoder.head.tokenizer.stamp(),
        "dtype": str(next(encoder.parameters()).dtype).removeprefix("torch."),
        "device": hardware.accelerator,
        "index": dict(index),
    }


def track_results(results: Results, evaluated: str, folder: Path, tracking: Tracking) -> None:
    """Note every figure: the evaluated system's as eval/<task>/<metric>, the others' with their name in between."""
    for task, systems in results.figures().items():
        for system, values in systems.items():
            prefix = f"eval/{task}/" if system == evaluated else f"eval/{task}/{system}/"
            kept = values if system == evaluated else {results.headline: values[results.headline]}
            tracking.metrics({f"{prefix}{name}": value for name, value in kept.items()})
    for task, measured in results.measured.items():
        if evaluated in measured:
            tracking.metrics({f"eval/{task}/index_{name}": value for name, value in measured[evaluated].items()})
    for name in ("results.json", "per_query.parquet"):
        tracking.artifact(folder / name)
    tracking.artifact(folder / "runs", "runs")
    if (folder / ANALYSIS).is_dir():
        tracking.artifact(folder / ANALYSIS, ANALYSIS)
