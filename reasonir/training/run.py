"""One run from its configuration to its results: plan, baselines, training, evaluation, export, tracking.

Everything a run leaves lies in its folder: .hydra/, config.yaml, data.json, plan.json, environment.json, metrics.csv,
checkpoints/, model/, results.json, per_query.parquet, runs/ and plots/. Only the first rank writes, judges and tracks.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from lightning import Trainer, seed_everything
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from reasonir.config import build, options, plain, readable
from reasonir.data.base import Source
from reasonir.data.collate import assembling
from reasonir.data.lengths import LengthOptions
from reasonir.data.prepared import TEACHER, Manifest, fingerprint_of, origin_of, read_manifest
from reasonir.errors import InputError, NotHereError, raise_all
from reasonir.eval.base import Benchmark
from reasonir.eval.results import Results
from reasonir.files import completed
from reasonir.loss.base import Objective
from reasonir.model.backbone import Model
from reasonir.model.encoder import Encoder
from reasonir.model.reader import ALONE, Workers
from reasonir.teacher.base import Teacher
from reasonir.teacher.none import Untaught
from reasonir.training.board import show_leaderboard
from reasonir.training.budgets import Remembered, graph_bytes
from reasonir.training.callbacks import Interrupt, Milestones
from reasonir.training.checkpoints import AtomicCheckpointIO, find_checkpoint, step_of
from reasonir.training.crew import assemble, give_weights, together
from reasonir.training.datamodule import RetrievalData
from reasonir.training.describing import choices, command_line, description, parameters
from reasonir.training.display import show, show_choices, show_config, show_plan, show_probe
from reasonir.training.evaluation import ANALYSIS, Evaluation, read_benchmark, table
from reasonir.training.hardware import Hardware
from reasonir.training.history import History
from reasonir.training.launch import call, launched
from reasonir.training.lengths import Measured, lengths_found, longest, measure
from reasonir.training.memory import Estimate
from reasonir.training.module import RetrieverModule
from reasonir.training.packaging import package_run
from reasonir.training.plan import Plan, as_planned, plan_run, planned_lengths, survey
from reasonir.training.plots import plot_run
from reasonir.training.probe import probe
from reasonir.training.report.write import write_report
from reasonir.training.sharded import ShardedPrecision
from reasonir.training.step import Budget
from reasonir.training.sweep import BROWSER, present_job
from reasonir.training.teaching import teacher_of
from reasonir.training.tracking import Tracking, environment, open_tracking
from reasonir.training.views import save_runs_view

log = logging.getLogger(__name__)
DATA = "data.json"
"""The manifest of the prepared set that a run was trained on, in its folder."""


TRAINED_ON = "training_data.json"
"""In an exported model: the manifest of what it was trained on, its decontamination and licences among it."""


def train(config: DictConfig, folder: Path) -> float | None:
    """Train and evaluate what `config` composes, in `folder`; a resumed run goes on in the folder it was started in.

    Returns:
        The best development metric, for sweepers (the test figures are in the folder); None without one.

    Raises:
        InputError: whatever of the configuration, the data or a checkpoint can't be used.
        SystemExit: the run was stopped by a signal and left a checkpoint (status 128 + signal).
    """
    quiet_libraries()
    home = Path(config.home)
    model: Model = build(config.model)
    hardware: Hardware = build(config.hardware)
    teacher, objective = teacher_of(config), build(config.loss)
    _refuse_unread_teacher(objective, teacher)
    data = RetrievalData(
        build(config.data),
        build(config.loader),
        home=home,
        seed=config.seed,
        mining=build(config.mining),
        teacher=Untaught() if config.dry_run else teacher,  # no plan needs hours of scoring
    )
    benchmark: Benchmark = build(config.eval)
    resume = find_checkpoint(config.resume) if config.resume else None
    if not config.dry_run:
        require(
            partial(_other_world, hardware),
            hardware.missing,
            model.locate,
            teacher.reach,
            data.source.identity,
            partial(_reach, benchmark),
        )
    if hardware.missing() is None:
        hardware = hardware.resolve()
    if resume:
        hardware = as_planned(hardware, folder / "plan.json")
        if (folder / DATA).is_file():
            refuse_other_data(data.source, folder)
    show_config(readable(plain(config)))
    found: Mapping[str, int] = {}
    try:
        data.prepare_data()
        data.setup()
    except NotHereError as error:
        if not config.dry_run:
            raise
        log.warning("%s", error)
        lengths = longest(model)
    else:
        if resume and not config.dry_run and (folder / DATA).is_file():
            _refuse_other_rows(data, folder)
        _refuse_missing_teachers(objective, data, teacher)
        planned = planned_lengths(folder / "plan.json") if resume else {}
        model, lengths, found = _fit_lengths(config, model, data, planned)
    plan = plan_run(
        model,
        hardware,
        data,
        lengths,
        optimiser=config.optim.name,
        accumulates=config.trainer.accumulate_grad_batches > 1,
        found=found,
    )
    show_plan(plan)
    if config.dry_run or config.probe:
        if config.dry_run:
            show_choices(plan, survey(plan, _profiles()))
        else:
            plan = probe(config, model, data, plan)
            show_probe(plan)
        if not resume and _rank() == 0:  # a resumed run keeps the plan it was started with
            plan.write(folder)
        return None
    call(folder)
    with Interrupt() as interrupt, _tracked(config, folder, plan, data) as tracking:
        run = _Run(
            config, folder, benchmark=benchmark, model=model, hardware=hardware, data=data, plan=plan, tracking=tracking
        )
        return run.run(resume, interrupt)


def _reach(benchmark: Benchmark) -> None:
    """Read the first of what is judged on, without its documents, so that it is known to be there."""
    next(benchmark.tasks(corpus=False), None)


def _fit_lengths(
    config: DictConfig, model: Model, data: RetrievalData, planned: Mapping[str, int]
) -> tuple[Model, Measured, Mapping[str, int]]:
    """The model with lengths fitted to the data, its columns, and the head's options that were found.

    What is found becomes part of the configuration, so that it is tracked, judged and resumed like what is given. A
    resumed run keeps what its first plan found.
    """
    wanted: LengthOptions = build(config.lengths)
    lengths = measure(model, data, rows=wanted.sample)
    if not wanted.auto:
        return model, lengths, {}
    kept = {name: length for name, length in planned.items() if model.head_options.get(name) is None}
    found = kept if planned else lengths_found(model, lengths, wanted)
    if lengths.counted != "tokens":
        log.warning("lengths.auto: the tokenizer of model.path=%s can't be reached, so no length is taken", model.path)
    for name, length in found.items():
        config.model.head[name] = length
        log.info("lengths.auto: model.head.%s=%d", name, length)
    model = build(config.model)
    return model, (measure(model, data, rows=wanted.sample) if found else lengths), found


def _profiles() -> dict[str, Hardware]:
    """Every option of the hardware group, resolved where its device is here."""
    profiles: dict[str, Hardware] = options("hardware")
    return {name: each if each.missing() else each.resolve() for name, each in profiles.items()}


class _Run:
    """What the stages of a run share."""

    def __init__(
        self,
        config: DictConfig,
        folder: Path,
        *,
        benchmark: Benchmark,
        model: Model,
        hardware: Hardware,
        data: RetrievalData,
        plan: Plan,
        tracking: Tracking,
    ) -> None:
        self.config = config
        self.folder = folder
        self.model = model
        self.hardware = hardware
        self.data = data
        self.plan = plan
        self.tracking = tracking
        self.history = History(folder / "metrics.csv")
        self.index: Callable[[Encoder], Any] = build(config.index)
        tasks = read_benchmark(benchmark) if _rank() == 0 else []
        self.leaderboard = benchmark.leaderboard
        seed_everything(config.seed, workers=True, verbose=False)
        self.encoder = model.load(seed=config.seed)
        self.remembered = Remembered.of(
            Path(config.home),
            hardware,
            model=model.path,
            head=type(self.encoder.head).__name__,
            batch_size=config.loader.batch_size,
        )
        data.assemble = assembling(self.encoder.head.kind, self.encoder.head.tokenizer)
        protocol = {"model": model.path, **stamp(self.encoder, hardware, config.index), "seed": config.seed}
        self.evaluation = Evaluation(
            tasks,
            build(config.evaluation),
            self.index,
            folder,
            protocol,
            config.seed,
            groups=benchmark.groups,
            headline=benchmark.headline,
            analyse=benchmark.analyse,
        )

    def run(self, resume: Path | None, interrupt: Interrupt) -> float | None:
        """Judge the baselines, train, judge the trained model."""
        if self.hardware.ranks == 1:
            self.encoder.to(self.hardware.torch_device)
            self._measure()
            self.evaluation.baselines(self.encoder)
        milestones = Milestones(
            build(self.config.milestones), self.folder / "checkpoints", self.data.dev, self.evaluation.dev, interrupt
        )
        trainer = self._trainer(milestones)
        self._fit(trainer, resume)
        if interrupt.received is not None:
            log.warning("Stopped after step %d; go on with resume=%s", trainer.global_step, self.folder)
            raise SystemExit(128 + interrupt.received)
        if self.hardware.ranks == 1:
            milestones.load_best(self.encoder)
            self._finish(self.encoder, milestones.best)
        else:
            self._finish_together(milestones)
        return milestones.best

    def _finish_together(self, milestones: Milestones) -> None:
        """Judge the baselines and the trained model with all ranks, in an encoder that no strategy has sharded."""
        group = assemble()
        encoder = self.model.load(seed=self.config.seed).to(self.hardware.torch_device)
        together(group, encoder, partial(self.evaluation.baselines, encoder))
        if _rank() == 0:
            milestones.load_last(encoder)
            milestones.load_best(encoder)
        give_weights(group, encoder)
        together(group, encoder, partial(self._finish, encoder, milestones.best))

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
        log.info("Micro-batches of %d tokens, %d tokens' graphs kept", plan.budget.micro_batch, plan.budget.kept)
        plan.write(self.folder)
        self.tracking.artifact(self.folder / "plan.json")
        self.tracking.metrics(
            {"plan/micro_batch_tokens": plan.budget.micro_batch, "plan/kept_tokens": plan.budget.kept}
        )

    def _out_of_memory(self, budget: Budget, reason: str) -> None:
        log.warning("Out of memory (%s): the same step is taken again with half the budget", reason)
        self.remembered.keep(budget)
        self._refit(self.plan.refitted(budget=budget))

    def _trainer(self, milestones: Milestones) -> Trainer:
        loggers: Sequence[Logger] = [self.history, *self.tracking.loggers()]
        sharded = isinstance(self.hardware.strategy, FSDPStrategy)
        trainer: Trainer = build(
            self.config.trainer,
            accelerator=self.hardware.accelerator,
            devices=self.hardware.devices,
            num_nodes=self.hardware.nodes,
            strategy=self.hardware.strategy,
            precision=None if sharded else self.hardware.precision,
            logger=[] if self.config.logger == "none" else loggers,
            callbacks=[milestones],
            plugins=[AtomicCheckpointIO(), *([ShardedPrecision(self.hardware.precision)] if sharded else [])],
            default_root_dir=str(self.folder),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            num_sanity_val_steps=0,
            limit_val_batches=0,
            use_distributed_sampler=False,
        )
        return trainer

    def _fit(self, trainer: Trainer, resume: Path | None) -> None:
        module = RetrieverModule(
            self.encoder,
            build(self.config.loss),
            build(self.config.optim),
            replace(self.plan.budget, even=isinstance(trainer.strategy, FSDPStrategy)),
            steps=total_steps(self.data.batches_a_pass(trainer.world_size), trainer),
            seed=self.config.seed,
            refitted=self._out_of_memory,
            hparams=plain(self.config),
        )
        if resume is not None:
            log.info("Resuming after step %d from %s", step_of(resume), resume)
            self.history.rewind(step_of(resume))
        trainer.fit(module, datamodule=self.data, ckpt_path=str(resume) if resume else None, weights_only=True)

    def _finish(self, encoder: Encoder, best: float | None, workers: Workers = ALONE) -> None:
        """Export and judge the trained model, and keep what came out."""
        encoder.save(self.folder / "model")
        shutil.copyfile(self.folder / DATA, self.folder / "model" / TRAINED_ON)
        encoder.to(self.hardware.torch_device)
        self.evaluation.judge(encoder, "trained", workers)
        results = self.evaluation.results
        track_results(results, "trained", self.folder, self.tracking)
        self.tracking.describe(description(results, "trained", self.folder))
        for file in plot_run(self.history.curves(), results, self.folder / "plots"):
            self.tracking.artifact(file, "plots")
        if (self.folder / "metrics.csv").is_file():
            self.tracking.artifact(self.folder / "metrics.csv")
        head = type(encoder.head).__module__.rpartition(".")[2]
        package_run(self.tracking, self.folder, f"{self.data.source.name}-{head}", best)
        show(table(results, "trained"))
        show_leaderboard(self.leaderboard, results, "trained", self.folder, self.tracking)
        self.tracking.artifact(
            write_report(
                self.folder,
                self.evaluation.tasks,
                results,
                "trained",
                values=plain(self.config),
                encoder=encoder,
                run=self.folder,
            )
        )
        if self.tracking.run_id and present_job() is None:  # a sweep has a view of its own
            address = save_runs_view(Path(self.config.home), self.tracking.run_id, results.headline)
            log.info(BROWSER, address)
        log.info("Everything is in %s", self.folder)


def _other_world(hardware: Hardware) -> str | None:
    """What torchrun started other than the profile says, if anything."""
    if hardware.missing() is not None:
        return None  # said by itself
    started, wanted = launched(), hardware.resolve().ranks
    if started == wanted or (started == 1 and hardware.nodes == 1):
        return None
    if started == 1:
        return f"hardware.nodes={hardware.nodes}: start every node's processes with torchrun (docs/scale.md)"
    return (
        f"torchrun started {started} processes, hardware={hardware.name} has {wanted}: "
        "set hardware.devices to those of a node and hardware.nodes to how many nodes there are"
    )


def _refuse_unread_teacher(objective: Objective, teacher: Teacher) -> None:
    for name in sorted(teacher.columns - objective.teachers):
        raise InputError(
            f"teacher.name={name}: the loss doesn't read its scores: give loss.target={name} to one that has a target "
            "(loss=kl), or leave teacher= out"
        )


def _refuse_missing_teachers(objective: Objective, data: RetrievalData, teacher: Teacher) -> None:
    there = [name.removeprefix(TEACHER) for name in data.rows.column_names if name.startswith(TEACHER)]
    for name in sorted(objective.teachers - teacher.columns - set(there)):
        raise InputError(
            f"the loss reads the scores of teacher {name!r}, and {data.folder} has "
            f"{'those of ' + ', '.join(there) if there else 'none'}: name one it has, target=label, or let a reranker "
            f"give them (teacher=reranker teacher.name={name})"
        )


def refuse_other_data(source: Source, folder: Path) -> None:
    """Refuse a source that doesn't give what the run in `folder` was trained on.

    Raises:
        InputError: options or files of the source changed since, or the run doesn't say what it was trained on.
    """
    if not (folder / DATA).is_file():
        raise InputError(f"{folder} doesn't say what it was trained on (no {DATA}): train it again")
    if (known := origin_of(_trained_on(folder))) != (found := fingerprint_of(source)):
        raise InputError(
            f"{folder} was trained on the prepared set {known}, its source now gives {found}: what was kept back then "
            "may be trained on now and the other way round; bring the data's files and options back, or train anew"
        )


def _refuse_other_rows(data: RetrievalData, folder: Path) -> None:
    """Refuse a set with other mined negatives, or scores of another teacher, than the run in `folder` began with."""
    known, found = (manifest["fingerprint"] for manifest in (_trained_on(folder), read_manifest(data.folder)))
    if known != found:
        raise InputError(
            f"{folder} was trained on the prepared set {known}, mining= and teacher= now make {found} of the same "
            "source: bring their options, and the models they took, back, or train anew"
        )


def _trained_on(folder: Path) -> Manifest:
    manifest: Manifest = json.loads((folder / DATA).read_text())
    return manifest


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


def require(*checks: Callable[[], Any]) -> None:
    """Raise one InputError with everything that is missing for a run.

    Args:
        checks: each returns what is missing, or raises InputError.
    """
    problems = []
    for check in checks:
        try:
            found = check()
        except InputError as error:
            found = str(error)
        if isinstance(found, str):
            problems.append(found)
    raise_all(problems, "thing missing here")


def stamp(encoder: Encoder, hardware: Hardware, index: DictConfig) -> dict[str, Any]:
    """What of a model, machine and index decides a figure: lengths, prompts, number format, how it is searched."""
    tokenizer = encoder.head.tokenizer
    if encoder.head.kind == "retriever":
        read = {
            "query_length": tokenizer.limit("query"),
            "document_length": tokenizer.limit("document"),
            "query_prompt": tokenizer.prompts.query,
            "document_prompt": tokenizer.prompts.document,
            "instruction": tokenizer.prompts.instruction,
        }
    else:
        read = tokenizer.stamp()
    return {
        **read,
        "dtype": str(next(encoder.parameters()).dtype).removeprefix("torch."),
        "device": hardware.accelerator,
        "index": {"name": index._target_.split(".")[-2], **readable(plain(index))},
    }


def track_results(results: Results, judged: str, folder: Path, tracking: Tracking) -> None:
    """Note every figure: the judged system's as eval/<task>/<metric>, the others' with their name in between."""
    for task, systems in results.figures().items():
        for system, values in systems.items():
            prefix = f"eval/{task}/" if system == judged else f"eval/{task}/{system}/"
            kept = values if system == judged else {results.headline: values[results.headline]}
            tracking.metrics({f"{prefix}{name}": value for name, value in kept.items()})
    for task, measured in results.measured.items():
        if judged in measured:
            tracking.metrics({f"eval/{task}/index_{name}": value for name, value in measured[judged].items()})
    for name in ("results.json", "per_query.parquet"):
        tracking.artifact(folder / name)
    tracking.artifact(folder / "runs", "runs")
    if (folder / ANALYSIS).is_dir():
        tracking.artifact(folder / ANALYSIS, ANALYSIS)


def quiet_libraries() -> None:
    """Keep libraries from writing progress bars and load reports between our lines."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import datasets
    import transformers

    if _rank() != 0:  # the others say it in their own logs
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.WARNING)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module=r"lightning\.pytorch\.utilities\._pytree")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed", "faiss.loader"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def _tracked(config: DictConfig, folder: Path, plan: Plan, data: RetrievalData) -> Iterator[Tracking]:
    """A tracked run around the block, closed as finished, killed or failed."""
    if _rank() != 0:
        yield Tracking()
        return
    values = plain(config)
    notes = {"config.yaml": yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}
    manifest = read_manifest(data.folder)
    notes |= {
        DATA: json.dumps(manifest, indent=2),
        "plan.json": json.dumps(plan.to_dict(), indent=2),
        "environment.json": json.dumps({"command": command_line(), **environment()}, indent=2),
    }
    for name, text in notes.items():
        with completed(folder / name) as partial:
            partial.write_text(text)
    known, job = folder / "run_id", present_job()
    tracking = open_tracking(
        config.logger,
        Path(config.home),
        project=config.project,
        name=job.name if job else config.run_name,
        parent=job.parent if job else None,
        folder=folder,
        tags={**choices(), **{key: str(value) for key, value in config.tags.items()}},
        run_id=known.read_text() if known.is_file() else None,
    )
    with tracking.closing():
        if tracking.run_id:
            with completed(known) as partial:
                partial.write_text(tracking.run_id)
        tracking.parameters(parameters(values))
        for name in notes:
            tracking.artifact(folder / name)
        tracking.dataset(data.source.name, manifest["fingerprint"], str(data.folder), "training")
        yield tracking


def _rank() -> int:
    """This process's rank, known before any process group is up."""
    return int(getattr(rank_zero_only, "rank", 0) or 0)
