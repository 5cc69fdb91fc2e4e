"""One run from its configuration to its results: plan, baselines, training, evaluation, export, tracking.

Everything a run leaves lies in its folder: .hydra/, config.yaml, data.json, plan.json, environment.json, metrics.csv,
checkpoints/, model/, results.json, per_query.parquet, runs/ and plots/. Only the first rank writes, judges and tracks.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import yaml
from omegaconf import DictConfig

from reasonir.cli.startup import quiet_libraries, require
from reasonir.commands.build_teacher import teacher_of
from reasonir.commands.probe import probe
from reasonir.commands.train_session import TrainingRun
from reasonir.config import build, options, strip_targets, to_container
from reasonir.data.batches.lengths import LengthOptions
from reasonir.data.prepared import TEACHER, read_manifest
from reasonir.distributed.launch import launched, own_rank, publish_folder
from reasonir.errors import InputError, NotHereError
from reasonir.eval.base import Benchmark
from reasonir.hardware import Hardware
from reasonir.loss.base import LABELS, SPANS, Objective, needs_of
from reasonir.model.backbone import Model
from reasonir.planning.lengths import Measured, lengths_found, longest, measure
from reasonir.planning.plan import Plan, as_planned, plan_run, planned_lengths, survey
from reasonir.report.console import show_choices, show_config, show_plan, show_probe
from reasonir.runs.environment import environment
from reasonir.runs.provenance import DATA, refuse_other_data, refuse_other_rows
from reasonir.sweep.jobs import present_job
from reasonir.teacher.base import Teacher
from reasonir.teacher.none import NoTeacher
from reasonir.tracking.base import Tracking, known_run, open_tracking
from reasonir.tracking.database import refuse_unusable
from reasonir.tracking.tags import choices, command_line, parameters
from reasonir.training.callbacks import Interrupt
from reasonir.training.checkpoints import find_checkpoint, step_of
from reasonir.training.datamodule import RetrievalData
from reasonir.utils.files import atomic_path

log = logging.getLogger(__name__)


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
    benchmark: Benchmark = build(config.eval)
    data = RetrievalData(
        build(config.data),
        build(config.loader),
        home=home,
        seed=config.seed,
        mining=build(config.mining),
        teacher=NoTeacher() if config.dry_run else teacher,  # no plan needs hours of scoring
        pairs=model.kind != "retriever",
        tested=benchmark.needs_held_out,
    )
    resume = find_checkpoint(config.resume) if config.resume else None
    tracks = own_rank() == 0 and not config.probe
    if not config.dry_run:
        require(
            partial(_other_world, hardware),
            hardware.missing,
            model.locate,
            teacher.check_available,
            data.source.identity,
            partial(_reach, benchmark),
            *([partial(refuse_unusable, config.logger, home, config.experiment_name)] if tracks else []),
        )
    if hardware.missing() is None:
        hardware = hardware.resolve()
    if resume:
        hardware = as_planned(hardware, folder / "plan.json")
        if (folder / DATA).is_file():
            refuse_other_data(data.source, folder)
    show_config(strip_targets(to_container(config)))
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
            refuse_other_rows(data.folder, folder)
        _refuse_missing_teachers(objective, data, teacher)
        _refuse_missing_contrast(objective, data)
        benchmark = benchmark.with_held_out(data)
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
        if not resume and own_rank() == 0:  # a resumed run keeps the plan it was started with
            plan.write(folder)
        return None
    publish_folder(folder)
    with Interrupt() as interrupt, _tracked(config, folder, plan, data, resume) as tracking:
        run = TrainingRun(
            config, folder, benchmark=benchmark, model=model, hardware=hardware, data=data, plan=plan, tracking=tracking
        )
        return run.run(resume, interrupt)


def _reach(benchmark: Benchmark) -> None:
    """Read the first task, without its documents, so that it is known to be there; not what is held out only later."""
    if not benchmark.needs_held_out:
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
def _tracked(
    config: DictConfig, folder: Path, plan: Plan, data: RetrievalData, resume: Path | None
) -> Iterator[Tracking]:
    """A tracked run around the block, closed as finished, killed or failed."""
    if own_rank() != 0:
        yield Tracking()
        return
    values = to_container(config)
    notes = {"config.yaml": yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}
    manifest = read_manifest(data.folder)
    notes |= {
        DATA: json.dumps(manifest, indent=2),
        "plan.json": json.dumps(plan.to_dict(), indent=2),
        "environment.json": json.dumps({"command": command_line(), **environment()}, indent=2),
    }
    for name, text in notes.items():
        with atomic_path(folder / name) as partial:
            partial.write_text(text)
    home, job = Path(config.home), present_job()
    tracking = open_tracking(
        config.logger,
        home,
        experiment_name=config.experiment_name,
        name=job.name if job else config.run_name,
        parent=job.parent if job else None,
        folder=folder,
        tags={**choices(), **{key: str(value) for key, value in config.tags.items()}},
        run_id=known_run(config.logger, home, folder),
        resumed_at=step_of(resume) if resume else None,
    )
    with tracking.closing():
        tracking.parameters(parameters(values))
        for name in notes:
            tracking.artifact(folder / name)
        tracking.dataset(data.source.name, manifest["fingerprint"], str(data.folder), "training")
        yield tracking
