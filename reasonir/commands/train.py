"""One run from its configuration to its results: plan, baselines, training, evaluation, export, tracking.

Everything a run leaves lies in its folder: .hydra/, config.yaml, data.json, plan.json, environment.json, metrics.csv,
checkpoints/, model/, results.json, per_query.parquet, runs/ and plots/. Only the first rank writes, judges and tracks.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import yaml

from reasonir.cli.startup import quiet_libraries, require
from reasonir.commands.compose import TrainParts
from reasonir.commands.probe import probe
from reasonir.commands.train_session import TrainingRun
from reasonir.data.prepared import TEACHER, read_manifest
from reasonir.distributed.launch import launched, own_rank, publish_folder
from reasonir.errors import InputError, NotHereError
from reasonir.eval.base import Benchmark
from reasonir.hardware import Hardware
from reasonir.loss.base import LABELS, SPANS, Objective, needs_of
from reasonir.planning.lengths import Measured, auto_lengths, longest, measure
from reasonir.planning.plan import Plan, as_planned, plan_run, planned_lengths, survey
from reasonir.report.plan import show_choices, show_plan, show_probe, show_start
from reasonir.runs.environment import environment
from reasonir.runs.provenance import DATA, refuse_other_data, refuse_other_rows
from reasonir.teacher.base import Teacher
from reasonir.teacher.none import NoTeacher
from reasonir.tracking.base import Tracking, open_tracking, resumable_run_id
from reasonir.tracking.database import refuse_unusable
from reasonir.tracking.tags import parameters
from reasonir.training.checkpoints import step_of
from reasonir.training.datamodule import RetrievalData
from reasonir.training.interrupt import Interrupt
from reasonir.utils.files import atomic_path

log = logging.getLogger(__name__)


def train(parts: TrainParts) -> float | None:
    """Train and evaluate in the parts' folder; a resumed run continues in the folder it was started in.

    Returns:
        The best development metric, for sweepers (the test figures are in the folder); None without one.

    Raises:
        InputError: anything of the options, the data or a checkpoint that can't be used.
        SystemExit: the run was stopped by a signal and left a checkpoint (status 128 + signal).
    """
    quiet_libraries()
    folder, resume, hardware, benchmark = parts.folder, parts.resume, parts.hardware, parts.benchmark
    _refuse_unread_teacher(parts.objective, parts.teacher)
    data = RetrievalData(
        parts.source,
        parts.loader,
        home=parts.home,
        seed=parts.seed,
        mining=parts.mining,
        teacher=NoTeacher() if parts.dry_run else parts.teacher,  # no plan needs hours of scoring
        pairs=parts.model.reads_pairs,
        tested=benchmark.needs_held_out,
    )
    if not parts.dry_run:
        _require(parts)
    if hardware.missing() is None:
        hardware = hardware.resolve()
    if resume:
        hardware = as_planned(hardware, folder / "plan.json")
        if (folder / DATA).is_file():
            refuse_other_data(data.source, folder)
    found: Mapping[str, int] = {}
    try:
        data.prepare_data()
        data.setup()
    except NotHereError as error:
        if not parts.dry_run:
            raise
        log.warning("%s", error)
        lengths = longest(parts.model)
    else:
        if resume and not parts.dry_run and (folder / DATA).is_file():
            refuse_other_rows(data.folder, folder)
        _refuse_missing_teachers(parts.objective, data, parts.teacher)
        _refuse_missing_contrast(parts.objective, data)
        benchmark = benchmark.with_held_out(data)
        planned = planned_lengths(folder / "plan.json") if resume else {}
        parts, lengths, found = _fit_lengths(parts, data, planned)
    parts = replace(parts, hardware=hardware, benchmark=benchmark)
    plan = plan_run(
        parts.model,
        hardware,
        data,
        lengths,
        optimiser=parts.optim.name,
        accumulates=parts.trainer["accumulate_grad_batches"] > 1,
        auto_lengths=found,
    )
    show_start(
        plan,
        overrides=parts.line[3:],
        options=parts.choices,
        data=read_manifest(data.folder)["counts"] if data.rows is not None else {},
        folder=folder,
    )
    if parts.dry_run or parts.probe:
        show_plan(plan)
        if parts.dry_run:
            profiles = {name: each if each.missing() else each.resolve() for name, each in parts.profiles.items()}
            show_choices(plan, survey(plan, profiles))
        else:
            plan = probe(parts, data, plan)
            show_probe(plan)
        if not resume and own_rank() == 0:  # a resumed run keeps the plan it was started with
            plan.write(folder)
        return None
    publish_folder(folder)
    with Interrupt() as interrupt, _tracked(parts, plan, data) as tracking:
        return TrainingRun(parts, data=data, plan=plan, tracking=tracking).run(interrupt)


def _require(parts: TrainParts) -> None:
    """Refuse a run of which something isn't here, everything in one error."""
    tracks = own_rank() == 0 and not parts.probe
    database = partial(refuse_unusable, parts.home, parts.experiment_name)
    require(
        partial(_other_world, parts.hardware),
        parts.hardware.missing,
        parts.model.locate,
        parts.teacher.check_available,
        parts.source.identity,
        partial(_reach, parts.benchmark),
        *([partial(parts.loggers.open, parts.folder)] if tracks else []),
        *([database] if tracks and parts.loggers.mlflow else []),
    )


def _reach(benchmark: Benchmark) -> None:
    """Read the first task, without its documents, so that it is known to be there; not what is held out only later."""
    if not benchmark.needs_held_out:
        next(benchmark.tasks(corpus=False), None)


def _fit_lengths(
    parts: TrainParts, data: RetrievalData, planned: Mapping[str, int]
) -> tuple[TrainParts, Measured, Mapping[str, int]]:
    """The run with lengths fitted to the data, its columns, and the head's options that were found.

    A resumed run keeps the lengths of its first plan.
    """
    model, wanted = parts.model, parts.lengths
    lengths = measure(model, data, rows=wanted.sample)
    if not wanted.auto:
        return parts, lengths, {}
    kept = {name: length for name, length in planned.items() if model.head_options.get(name) is None}
    found = kept if planned else auto_lengths(model, lengths, wanted)
    if lengths.counted != "tokens":
        log.warning("lengths.auto: the tokenizer of model.path=%s can't be reached, so no length is taken", model.path)
    for name, length in found.items():
        log.info("lengths.auto: model.head.%s=%d", name, length)
    if not found:
        return parts, lengths, found
    parts = parts.with_head_options(found)
    return parts, measure(parts.model, data, rows=wanted.sample), found


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


def _refuse_missing_contrast(objective: Objective, data: RetrievalData) -> None:
    needs = needs_of(objective)
    missing = needs - data.contrasts if needs else needs
    if SPANS in missing:
        raise InputError(
            f"the loss trains pruning by judged spans, and {data.folder} has none: take data=context_relevance, or "
            "another loss= and model/head="
        )
    if missing:
        lacks = "pairs whose labels differ" if LABELS in missing else "documents of a query that differ in relevance"
        raise InputError(
            f"the loss learns from {lacks}, and batches of {data.folder} hold none, so nothing would be learned: mine "
            "hard negatives (mining=bm25 or mining=model), draw random ones (mining=random), or give graded labels "
            "(data=graded). Negatives that the data has are left out by loader.negatives=0"
        )


@contextmanager
def _tracked(parts: TrainParts, plan: Plan, data: RetrievalData) -> Iterator[Tracking]:
    """A tracked run around the block, closed as finished, killed or failed."""
    if own_rank() != 0:
        yield Tracking()
        return
    folder = parts.folder
    manifest = read_manifest(data.folder)
    notes = {
        "config.yaml": yaml.safe_dump(dict(parts.values), sort_keys=False, allow_unicode=True),
        DATA: json.dumps(manifest, indent=2),
        "plan.json": json.dumps(plan.to_dict(), indent=2),
        "environment.json": json.dumps({"command": list(parts.line), **environment()}, indent=2),
    }
    for name, text in notes.items():
        with atomic_path(folder / name) as part:
            part.write_text(text)
    tracking = open_tracking(
        parts.loggers,
        parts.home,
        experiment_name=parts.experiment_name,
        name=parts.job.name if parts.job else parts.run_name,
        parent=parts.job.parent if parts.job else None,
        folder=folder,
        tags={**parts.choices, **parts.tags},
        run_id=resumable_run_id(parts.home, folder) if parts.loggers.mlflow else None,
        resumed_at=step_of(parts.resume) if parts.resume else None,
    )
    with tracking.closing():
        tracking.parameters(parameters(parts.values))
        for name in notes:
            tracking.artifact(folder / name)
        tracking.dataset(data.source.name, manifest["fingerprint"], str(data.folder), "training")
        yield tracking
