"""Evaluation of a tracked run, a model or TREC run files, as at the end of a training run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lightning import seed_everything

from reasonir.cli.startup import quiet_libraries, require
from reasonir.commands.compose import EvaluateParts
from reasonir.commands.train_session import evaluation_of, track_results
from reasonir.distributed.encoding_pool import join_pool, run_together
from reasonir.distributed.launch import is_leader, publish_folder
from reasonir.errors import InputError
from reasonir.eval.base import EvaluatedSystem
from reasonir.eval.digest import digests_of
from reasonir.eval.evaluator import read_benchmark
from reasonir.eval.result_table import result_table
from reasonir.eval.results import ANALYSIS, Results
from reasonir.eval.systems import evaluate_systems, run_file_system
from reasonir.model.backbone import Model
from reasonir.model.encoder import Encoder
from reasonir.report.console import show
from reasonir.report.html.write import write_report
from reasonir.report.leaderboard import show_leaderboards
from reasonir.runs.lock import is_locked
from reasonir.tracking.base import resumable_run_id
from reasonir.tracking.database import refuse_unusable
from reasonir.tracking.mlflow import deliver
from reasonir.tracking.open import tracked
from reasonir.training.datamodule import held_out_data
from reasonir.types import Task

log = logging.getLogger(__name__)


def evaluate(parts: EvaluateParts) -> None:
    """Evaluate a run, a model or run files and write the results to the parts' folder.

    Results of a run are added to its MLflow run, if it has one.

    Raises:
        InputError: the model, the data or an option can't be used.
    """
    quiet_libraries()
    tracks = is_leader() and parts.loggers.mlflow
    if is_leader():
        parts.loggers.open(parts.folder)  # refused before the work
    if tracks:
        refuse_unusable(parts.home, parts.experiment_name)
    if parts.trec:
        _evaluate_run_files(parts, parts.trec)
        return
    run_id = None
    if parts.run and tracks:
        if not is_locked(parts.run):  # else the command that writes it delivers its calls
            deliver(parts.home, parts.run)
        run_id = resumable_run_id(parts.home, parts.run)
    options, untrained, trained = parts.evaluation, parts.untrained, parts.trained
    assert untrained is not None
    wants_untrained = trained is None or "untrained" in options.baselines
    require(
        parts.hardware.missing,
        *([untrained.locate] if wants_untrained else []),
        *([trained.locate] if trained else []),
    )
    hardware, benchmark = parts.hardware.resolve(), parts.benchmark
    held_out = None
    if parts.held_out:
        source, loader, seed = parts.held_out
        held_out = held_out_data(source, loader, home=parts.home, seed=seed, run=parts.run)
    if held_out:
        benchmark = benchmark.with_held_out(held_out)
    tasks = read_benchmark(benchmark, parts.evaluation.expansion) if is_leader() else []
    publish_folder(parts.folder)
    group = join_pool()
    seed_everything(parts.seed, workers=True, verbose=False)

    def load(model: Model) -> Encoder:
        return model.load(seed=parts.model_seed, precision=hardware.precision).to(hardware.torch_device)

    first = load(untrained) if wants_untrained else None
    encoder = load(trained) if trained else first
    assert encoder is not None
    if error := benchmark.incompatibility(type(encoder.head)):  # no configuration names the head of a run
        raise InputError(error)
    evaluation = evaluation_of(
        parts, tasks, encoder, path=(trained or untrained).path, hardware=hardware, benchmark=benchmark
    )
    evaluation.development = held_out.dev if held_out else None
    name = "untrained" if trained is None else "trained"
    if trained is None:
        evaluation.options = replace(options, baselines=[n for n in options.baselines if n != "untrained"])
    run_together(group, first or encoder, partial(evaluation.baselines, first))
    run_together(group, encoder, partial(evaluation.evaluate, encoder, name))
    if is_leader():
        _report(replace(parts, benchmark=benchmark), tasks, evaluation.results, name, encoder=encoder, run_id=run_id)


def _evaluate_run_files(parts: EvaluateParts, path: Path) -> None:
    """Evaluate TREC run files instead of a model."""
    tasks = list(parts.benchmark.tasks(corpus=False))
    depth = parts.evaluation.top_k
    results = Results(
        {
            "scorer": "pytrec_eval",
            "depth": depth,
            "headline": parts.benchmark.headline,
            "trec": str(path),
            "digests": digests_of(tasks),
        },
        parts.benchmark.groups,
    )
    name = path.resolve().name.strip(".").split(".")[0]  # resolved, so that trec=. has a name
    system = run_file_system(run_files(path, [task.name for task in tasks]), depth=depth)
    evaluate_systems(tasks, {name: system}, results, searched=False)
    if parts.benchmark.analyses_run_files:
        runs = {task.name: results.runs[task.name][name] for task in tasks}
        evaluated = EvaluatedSystem(name, runs, system, None)
        for task, analysis in parts.benchmark.analyse(evaluated, parts.folder / ANALYSIS).items():
            results.analyses.setdefault(task, {})[name] = analysis
    results.write(parts.folder, evaluated=name)
    _report(parts, tasks, results, name)


def _report(
    parts: EvaluateParts,
    tasks: Sequence[Task],
    results: Results,
    name: str,
    *,
    encoder: Encoder | None = None,
    run_id: str | None = None,
) -> None:
    """Track and show the results of a system, and write the report."""
    with tracked(
        parts.loggers,
        parts.home,
        experiment_name=parts.experiment_name,
        name=f"evaluate-{parts.folder.name}",
        folder=parts.folder,
        tags=parts.tags,
        run=parts.run,
        run_id=run_id,
    ) as tracking:
        if parts.run:  # results of earlier evaluations stay
            tracking.artifact_folder = f"evaluations/{parts.folder.name}"
        track_results(results, name, parts.folder, tracking)
        show(result_table(results, name))
        show_leaderboards(parts.benchmark.leaderboards, results, name, parts.folder, tracking)
        report = write_report(parts.folder, tasks, results, name, values=parts.values, encoder=encoder, run=parts.run)
        tracking.artifact(report)
    log.info("Everything is in %s", parts.folder)


def run_files(path: Path, tasks: Sequence[str]) -> dict[str, Path]:
    """Find the run file of each task: `path` itself, or the only file in a folder whose name contains the task's.

    Raises:
        InputError: a task has no file, or more than one.
    """
    if path.is_file() and len(tasks) == 1:
        return {tasks[0]: path}
    if not path.is_dir():
        fault = "is one file for several tasks" if path.is_file() else "doesn't exist"
        raise InputError(
            f"trec={path} {fault} ({', '.join(tasks)}): give a folder with one run file per task, or one task"
        )
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    file_of = {}
    for task in tasks:
        matches = [file for file in files if task in str(file.relative_to(path))]
        if len(matches) != 1:
            fault = f"{len(matches)} files name it ({matches[0]}, ...)" if matches else "no file names it"
            raise InputError(f"trec={path}: task {task}: {fault}: give exactly one run file per task")
        file_of[task] = matches[0]
    return file_of
