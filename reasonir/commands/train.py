"""Training run: plan, baselines, training, evaluation, export and tracking.

A run's folder holds .hydra/, config.yaml, data.json, plan.json, environment.json, metrics.csv, checkpoints/, model/,
results.json, per_query.parquet, runs/ and plots/. Only rank 0 writes and tracks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from reasonir.cli.startup import quiet_libraries
from reasonir.commands.compose import TrainParts
from reasonir.commands.probe import probe
from reasonir.commands.train_checks import (
    refuse_missing_contrast,
    refuse_missing_teachers,
    refuse_stopping_without_dev,
    refuse_unfit_stream,
    refuse_unfit_targets,
    refuse_unfit_teacher,
    require_resources,
)
from reasonir.commands.train_session import TrainingRun
from reasonir.data.base import Published
from reasonir.data.prepared import Manifest, read_manifest
from reasonir.distributed.launch import own_rank, publish_folder
from reasonir.errors import NotHereError
from reasonir.hardware import Hardware
from reasonir.invented.watch import watched
from reasonir.planning.lengths import Measured, auto_lengths, longest, measure
from reasonir.planning.plan import Plan, Step, as_planned, plan_run, planned_lengths, survey
from reasonir.report.plan import show_choices, show_plan, show_probe, show_start
from reasonir.runs.environment import environment
from reasonir.runs.provenance import DATA, refuse_other_data, refuse_other_rows
from reasonir.teacher.none import NoTeacher
from reasonir.tracking.base import Tracking, resumable_run_id
from reasonir.tracking.open import tracked
from reasonir.tracking.tags import parameters
from reasonir.training.checkpoints import step_of
from reasonir.training.datamodule import RetrievalData
from reasonir.training.interrupt import Interrupt
from reasonir.utils.state import seal, write_json, write_yaml

log = logging.getLogger(__name__)


def train(parts: TrainParts) -> float | None:
    """Train and evaluate in the parts' folder; a resumed run continues in its own folder.

    Returns:
        The best development metric, for sweepers; None without one. The final metrics are in the folder.

    Raises:
        InputError: an option, the data or a checkpoint can't be used.
        SystemExit: the run was stopped by a signal and left a checkpoint (status 128 + signal).
    """
    quiet_libraries()
    refuse_unfit_teacher(parts.objective, parts.teacher)
    refuse_unfit_stream(parts)
    data = RetrievalData(
        parts.source,
        parts.loader,
        home=parts.home,
        seed=parts.seed,
        mining=parts.mining,
        teacher=NoTeacher() if parts.dry_run else parts.teacher,  # no plan needs hours of scoring
        pairs=parts.model.reads_pairs,
        tested=parts.benchmark.needs_held_out,
        stream_batches=max(0, parts.trainer.max_steps) * parts.trainer.accumulate_grad_batches,
    )
    if not parts.dry_run:
        require_resources(parts)
    parts, plan = _plan(replace(parts, hardware=_resolved_hardware(parts)), data)
    if parts.dry_run or parts.probe:
        _only_plan(parts, data, plan)
        return None
    publish_folder(parts.folder)
    with Interrupt() as interrupt, _tracked(parts, plan, data) as tracking, watched(parts.hardware):
        return TrainingRun(parts, data=data, plan=plan, tracking=tracking).run(interrupt)


def _resolved_hardware(parts: TrainParts) -> Hardware:
    """The profile resolved on this machine, if it can run it; a resumed run keeps the one that it was planned for."""
    hardware = parts.hardware if parts.hardware.missing() else parts.hardware.resolve()
    return as_planned(hardware, parts.folder / "plan.json") if parts.resume else hardware


def _plan(parts: TrainParts, data: RetrievalData) -> tuple[TrainParts, Plan]:
    """Prepare the data, fit the lengths to it and the step to the memory; show the plan.

    A dry run without the data plans with the model's longest texts.
    """
    fitted: Mapping[str, int] = {}
    if parts.resume and (parts.folder / DATA).is_file():
        refuse_other_data(data.source, parts.folder)
    try:
        data.setup()
    except NotHereError as error:
        if not parts.dry_run:
            raise
        log.warning("%s", error)
        lengths = longest(parts.model)
    else:
        parts, lengths, fitted = _with_data(parts, data)
    ranks = max(1, parts.hardware.devices) * parts.hardware.nodes
    step = Step.of(parts.model, parts.objective, parts.optim, lengths, data.texts_per_step(ranks))
    step = replace(step, accumulates=parts.trainer.accumulate_grad_batches > 1)
    plan = plan_run(step, parts.hardware, lengths, steps=_batches(parts, data, ranks), auto_lengths=fitted)
    counts = read_manifest(data.folder)["counts"] if data.rows is not None else {}
    show_start(plan, overrides=parts.line[3:], options=parts.choices, data=counts, folder=parts.folder)
    return parts, plan


def _batches(parts: TrainParts, data: RetrievalData, ranks: int) -> int | None:
    """Number of batches of a whole run on each device, of published data also where it can't be read; else None."""
    every, epochs, steps = parts.trainer.accumulate_grad_batches, parts.trainer.max_epochs, parts.trainer.max_steps
    epoch = 0
    if data.rows is not None:
        epoch = data.batches_per_epoch(ranks)
    elif isinstance(data.source, Published):
        epoch = data.source.published_rows // parts.loader.batch_size
        log.info("%s has %s rows, as published", data.source.name, f"{data.source.published_rows:,}")
    bounds = [epoch * (epochs or -1), steps * every]
    return min((bound for bound in bounds if bound > 0), default=None)


def _with_data(parts: TrainParts, data: RetrievalData) -> tuple[TrainParts, Measured, Mapping[str, int]]:
    """Check the data, hold out the benchmark's test queries, and fit the lengths."""
    if parts.resume and not parts.dry_run and (parts.folder / DATA).is_file():
        refuse_other_rows(data.folder, parts.folder)
    refuse_missing_teachers(parts.objective, data, parts.teacher)
    refuse_unfit_targets(parts.objective, data)
    refuse_stopping_without_dev(parts.early_stopping, data)
    refuse_missing_contrast(parts.objective, data)
    parts = replace(parts, benchmark=parts.benchmark.with_held_out(data))
    return _fit_lengths(parts, data, planned_lengths(parts.folder / "plan.json") if parts.resume else {})


def _fit_lengths(
    parts: TrainParts, data: RetrievalData, planned: Mapping[str, int]
) -> tuple[TrainParts, Measured, Mapping[str, int]]:
    """Fit the head's lengths to the data; return the parts, the data's lengths and the fitted options.

    A resumed run keeps the lengths of its first plan.
    """
    model, options = parts.model, parts.lengths
    lengths = measure(model, data, rows=options.sample)
    if not options.auto:
        return parts, lengths, {}
    kept = {name: length for name, length in planned.items() if model.head_options.get(name) is None}
    fitted = kept if planned else auto_lengths(model, lengths, options)
    if lengths.counted != "tokens":
        log.warning("lengths.auto: the tokenizer of model.path=%s can't be reached, so no length is taken", model.path)
    for name, length in fitted.items():
        log.info("lengths.auto: model.head.%s=%d", name, length)
    if not fitted:
        return parts, lengths, fitted
    parts = parts.with_head_options(fitted)
    return parts, measure(parts.model, data, rows=options.sample), fitted


def _only_plan(parts: TrainParts, data: RetrievalData, plan: Plan) -> None:
    """Show and save the plan, with other profiles in a dry run or measured memory in a probe."""
    show_plan(plan)
    if parts.dry_run:
        profiles = {name: each if each.missing() else each.resolve() for name, each in parts.profiles.items()}
        show_choices(plan, survey(plan, profiles))
    else:
        plan = probe(parts, data, plan)
        show_probe(plan)
    if not parts.resume and own_rank() == 0:  # a resumed run keeps its first plan
        plan.write(parts.folder)


@contextmanager
def _tracked(parts: TrainParts, plan: Plan, data: RetrievalData) -> Iterator[Tracking]:
    """Track the block as a run, on rank 0, and close it as finished, killed or failed."""
    if own_rank() != 0:
        yield Tracking()
        return
    manifest = read_manifest(data.folder)
    files = _write_inputs(parts, plan, manifest)
    with tracked(
        parts.loggers,
        parts.home,
        experiment_name=parts.experiment_name,
        name=parts.job.name if parts.job else parts.run_name,
        parent=parts.job.parent if parts.job else None,
        folder=parts.folder,
        tags={**parts.choices, **parts.tags},
        run_id=resumable_run_id(parts.home, parts.folder) if parts.loggers.mlflow else None,
        resumed_at=step_of(parts.resume) if parts.resume else 0,
    ) as tracking:
        tracking.parameters(parameters(parts.values))
        for file in files:
            tracking.artifact(file)
        tracking.dataset(data.source.name, manifest["fingerprint"], str(data.folder), "training")
        yield tracking


def _write_inputs(parts: TrainParts, plan: Plan, manifest: Manifest) -> list[Path]:
    """Write the run's configuration, data manifest, plan and environment to its folder."""
    for file in (parts.folder / ".hydra").rglob("*.yaml"):
        seal(file)
    write_yaml(parts.folder / "config.yaml", parts.values)
    documents = {
        DATA: manifest,
        "plan.json": plan.to_dict(),
        "environment.json": {"command": list(parts.line), **environment()},
    }
    for name, document in documents.items():
        write_json(parts.folder / name, document)
    return [parts.folder / name for name in ("config.yaml", *documents)]
