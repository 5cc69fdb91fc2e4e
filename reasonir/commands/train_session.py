"""Stages of a planned training run: baselines, training, export, evaluation, and tracking of the results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lightning import Trainer, seed_everything
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.strategies import FSDPStrategy

from reasonir.commands.compose import EvaluateParts, TrainParts
from reasonir.distributed.encoding_pool import broadcast_weights, join_pool, run_together
from reasonir.distributed.launch import own_rank
from reasonir.engine.step import Budget
from reasonir.eval.base import Benchmark
from reasonir.eval.digest import whole
from reasonir.eval.evaluator import Evaluation, read_benchmark
from reasonir.eval.result_table import result_table
from reasonir.eval.results import ANALYSIS, Results
from reasonir.hardware import Hardware
from reasonir.model.caching_encoder import LOCAL, EncoderBackend
from reasonir.model.encoder import Encoder
from reasonir.model.export import export
from reasonir.planning.budget_cache import BudgetCache
from reasonir.planning.plan import Plan
from reasonir.report.console import show
from reasonir.report.html.write import write_report
from reasonir.report.leaderboard import show_leaderboards
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
from reasonir.types import Task
from reasonir.utils.command_line import command_line, override

log = logging.getLogger(__name__)
_SAMPLED_WORDS = 200


class TrainingRun:
    """Stages of a run, and their shared objects.

    Args:
        parts: of the run, with resolved lengths and hardware.
        data: after `setup`.
        plan: of the step.
        tracking: of the run, opened.
    """

    def __init__(self, parts: TrainParts, *, data: RetrievalData, plan: Plan, tracking: Tracking) -> None:
        self.parts = parts
        self.folder, self.hardware = parts.folder, parts.hardware
        self.data = data
        self.plan = plan
        self.tracking = tracking
        self.history = History(self.folder / "metrics.csv")
        tasks = read_benchmark(parts.benchmark, parts.evaluation.expansion) if own_rank() == 0 else []
        seed_everything(parts.seed, workers=True, verbose=False)
        self.encoder = self._load()
        self.budget_cache = BudgetCache.of(
            parts.home,
            self.hardware,
            model=parts.model.path,
            head=self.encoder.head.name,
            batch_size=parts.loader.batch_size,
        )
        data.assemble = self.encoder.head.tokenizer.collate
        self.evaluation = evaluation_of(
            parts, tasks, self.encoder, path=parts.model.path, hardware=self.hardware, benchmark=parts.benchmark
        )
        self.evaluation.development = data.dev

    def _load(self) -> Encoder:
        return self.parts.model.load(seed=self.parts.seed, precision=self.hardware.precision)

    def run(self, interrupt: Interrupt) -> float | None:
        """Evaluate the baselines, train, evaluate the trained model; return the best development metric.

        Raises:
            SystemExit: stopped by a signal, with status 128 + signal.
        """
        if self.hardware.ranks == 1:
            self.encoder.to(self.hardware.torch_device)
            self._fit_budget()
            self.evaluation.baselines(self.encoder)
        monitor = self._monitor(interrupt)
        trainer = self._trainer(monitor)
        self._fit(trainer)
        if interrupt.received is not None:
            flags = [word for word in self.parts.line if word.startswith("--")]
            command = command_line("train", *flags, override("resume", self.folder))
            log.warning("Stopped after step %d: continue with %s", trainer.global_step, command)
            raise SystemExit(128 + interrupt.received)
        if self.hardware.ranks == 1:
            monitor.load_best(self.encoder)
            self._finish(self.encoder, monitor.best)
        else:
            self._finish_together(monitor)
        return monitor.best

    def _finish_together(self, monitor: TrainingMonitor) -> None:
        """Evaluate the baselines and the trained model with all ranks, in an encoder that no strategy has sharded."""
        group = join_pool()
        encoder = self._load().to(self.hardware.torch_device)
        run_together(group, encoder, partial(self.evaluation.baselines, encoder))
        if own_rank() == 0:
            monitor.load_last(encoder)
            monitor.load_best(encoder)
        broadcast_weights(group, encoder)
        run_together(group, encoder, partial(self._finish, encoder, monitor.best))

    def _fit_budget(self) -> None:
        """Adapt the plan to budgets that ran out of memory before.

        For a single rank only: several ranks have to agree on the budget.
        """
        if (limit := self.budget_cache.limit(self.plan.budget)) != self.plan.budget:
            log.info("A larger budget ran out of memory before (%s)", self.budget_cache.file)
            self._change_plan(self.plan.refitted(limit))

    def _change_plan(self, plan: Plan) -> None:
        """Continue with another budget; save and track it."""
        self.plan = plan
        micro_batch, saved = plan.budget.micro_batch, plan.budget.max_saved_tokens
        log.info("Micro-batches of %d tokens; graphs of %d tokens are kept, others recomputed", micro_batch, saved)
        plan.write(self.folder)
        self.tracking.artifact(self.folder / "plan.json")
        self.tracking.metrics({"plan/micro_batch_tokens": micro_batch, "plan/max_saved_tokens": saved})

    def _out_of_memory(self, budget: Budget, reason: str) -> None:
        log.warning("Out of memory (%s): repeating the step with half the budget", reason)
        self._change_plan(self.plan.refitted(budget))

    def _monitor(self, interrupt: Interrupt) -> TrainingMonitor:
        return TrainingMonitor(
            self.folder / "checkpoints",
            self.data.dev,
            self.evaluation.dev,
            interrupt,
            history=self.history if self.parts.loggers.csv else None,
            checkpoint=self.parts.checkpoint,
            dev_eval=self.parts.dev_eval,
            early_stopping=self.parts.early_stopping,
        )

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
        resume, planned = self.parts.resume, self.plan.budget
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
        self.history.rewind(step_of(resume) if resume else 0)
        trainer.fit(module, datamodule=self.data, ckpt_path=str(resume) if resume else None, weights_only=True)
        if self.plan.budget != planned:  # only a budget that fitted is worth remembering
            self.budget_cache.keep(self.plan.budget)

    def _sample(self) -> list[str]:
        """Beginnings of a few training texts."""
        texts = [text.text for _, texts in self.data.sample(2).values() for text in texts]
        return [" ".join(text.split()[:_SAMPLED_WORDS]) for text in texts]

    def _finish(self, encoder: Encoder, best: float | None, workers: EncoderBackend = LOCAL) -> None:
        """Export and evaluate the trained model; track and report the results."""
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
        self.tracking.model(self.folder, f"{self.data.source.name}-{encoder.head.name}", best, self.data.dev_content)
        show(result_table(results, "trained"))
        show_leaderboards(self.parts.benchmark.leaderboards, results, "trained", self.folder, self.tracking)
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
        if self.parts.job is None:  # a sweep has its own view
            self.tracking.view(results.headline)
        log.info("Everything is in %s", self.folder)


def total_steps(batches: int, trainer: Trainer) -> int:
    """Return the optimiser steps of a training with `batches` batches per epoch."""
    steps_per_epoch = -(-batches // trainer.accumulate_grad_batches)
    bounds = [steps_per_epoch * (trainer.max_epochs or -1), trainer.max_steps]
    return min(bound for bound in bounds if bound > 0)


def evaluation_of(
    parts: TrainParts | EvaluateParts,
    tasks: Sequence[Task],
    encoder: Encoder,
    *,
    path: str,
    hardware: Hardware,
    benchmark: Benchmark,
) -> Evaluation:
    """Return the evaluation of a command, with everything that its metrics depend on in the protocol.

    Args:
        parts: of the command.
        tasks: the benchmark's tasks, read; empty on ranks that only encode.
        encoder: the evaluated model.
        path: hub id or folder of its checkpoint.
        hardware: the resolved profile.
        benchmark: with its held-out queries, where it needs any.
    """
    protocol = {
        "model": path,
        **encoder.head.tokenizer.stamp(),
        "precision": encoder.precision,
        "device": hardware.accelerator,
        "index": dict(parts.index_stamp),
        "seed": parts.seed,
    }
    if encoder.head.reads_pairs:
        options = parts.evaluation
        protocol["reranked"] = {"depth": options.rerank_depth, "bm25": options.bm25.settings}
    return Evaluation(
        tasks,
        parts.evaluation,
        parts.index,
        parts.folder,
        protocol,
        parts.seed,
        groups=benchmark.groups,
        headline=benchmark.headline,
        analyse=benchmark.analyse,
    )


def track_results(results: Results, system: str, folder: Path, tracking: Tracking) -> None:
    """Track all metrics of a system as eval/<task>/<metric>, and the headline of others as eval/<task>/<name>/<metric>.

    Each task is logged as a dataset with the digest of its content.

    Args:
        results: of all systems.
        system: name of the evaluated system.
        folder: of the results' files, which are logged as artifacts.
        tracking: of the run.
    """
    for task, systems in results.figures().items():
        for name, values in systems.items():
            prefix = f"eval/{task}/" if name == system else f"eval/{task}/{name}/"
            tracked = values if name == system else {results.headline: values[results.headline]}
            tracking.metrics({f"{prefix}{metric}": value for metric, value in tracked.items()})
    for task, measured in results.measured.items():
        if system in measured:
            tracking.metrics({f"eval/{task}/index_{metric}": value for metric, value in measured[system].items()})
    tracking.table("results", result_table(results, system))
    for task, digests in results.protocol["digests"].items():
        tracking.dataset(task, whole(digests), str(folder / "results.json"), "evaluation")
    for name in ("results.json", "per_query.parquet"):
        tracking.artifact(folder / name)
    tracking.artifact(folder / "runs", "runs")
    if (folder / ANALYSIS).is_dir():
        tracking.artifact(folder / ANALYSIS, ANALYSIS)
