"""Judging a tracked run, or a model as it is, on a benchmark: the same evaluation that ends a training run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf

from reasonir.cli.startup import quiet_libraries, require
from reasonir.commands.train_session import stamp, track_results
from reasonir.config import build, overridden, to_container
from reasonir.distributed.encoding_pool import assemble, together
from reasonir.distributed.launch import is_leader, publish_folder
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.eval.evaluator import Evaluation, EvaluationOptions, read_benchmark, table
from reasonir.eval.results import Results
from reasonir.eval.systems import evaluate_systems as evaluate_tasks
from reasonir.eval.systems import replaying
from reasonir.hardware import Hardware
from reasonir.model.backbone import Model
from reasonir.report.console import show
from reasonir.report.html.write import write_report
from reasonir.report.leaderboard import show_leaderboard
from reasonir.runs.folder import exported_model, saved_config, saved_data, saved_eval, untrained_model
from reasonir.runs.provenance import refuse_other_data
from reasonir.tracking.base import Tracking, folder_of_run, known_run, open_tracking
from reasonir.tracking.database import refuse_unusable
from reasonir.tracking.mlflow import deliver
from reasonir.training.datamodule import LoaderOptions, RetrievalData

log = logging.getLogger(__name__)


def evaluate(config: DictConfig, folder: Path) -> None:
    """Judge `config.run` (or, without one, `config.model` as it is) and write the results to `folder`.

    Figures of a run that MLflow knows are added to it.

    Raises:
        InputError: there is no such run, it has no exported model, or whatever else can't be used.
    """
    quiet_libraries()
    home = Path(config.home)
    if is_leader():
        refuse_unusable(config.logger, home, config.experiment_name)
    if config.trec:
        _judge_run_files(config, folder)
        return
    source = folder_of_run(str(config.run), home) if config.run else None
    run_id = None
    if source and is_leader() and config.logger == "mlflow":
        deliver(home, source)
        run_id = known_run(config.logger, home, source)
    if source:
        _take_from_run(config, source)
    untrained, trained = _models(config, source)
    hardware: Hardware = build(config.hardware)
    options = build(config.evaluation)
    wants_untrained = source is None or "untrained" in options.baselines
    require(
        hardware.missing,
        *([untrained.locate] if wants_untrained else []),
        *([trained.locate] if trained else []),
    )
    hardware = hardware.resolve()
    benchmark: Benchmark = build(config.eval)
    if benchmark.needs_held_out and (source or config.data is not None):
        benchmark = benchmark.with_held_out(_held_out(config, source))
    tasks = read_benchmark(benchmark) if is_leader() else []
    publish_folder(folder)
    group = assemble()
    seed_everything(config.seed, workers=True, verbose=False)
    seed = config.seed if source is None else saved_config(source)["seed"]
    first = untrained.load(seed=seed).to(hardware.torch_device) if wants_untrained else None
    judged = trained.load(seed=seed).to(hardware.torch_device) if trained else first
    assert judged is not None
    if fault := benchmark.misfit(type(judged.head)):  # a run's head, which no composition names
        raise InputError(fault)
    protocol = {"model": (trained or untrained).path, **stamp(judged, hardware, config.index), "seed": config.seed}
    evaluation = Evaluation(
        tasks,
        options,
        build(config.index),
        folder,
        protocol,
        config.seed,
        groups=benchmark.groups,
        headline=benchmark.headline,
        analyse=benchmark.analyse,
    )
    name = "untrained" if trained is None else "trained"
    if trained is None:
        evaluation.options = replace(options, baselines=[n for n in options.baselines if n != "untrained"])
    together(group, first or judged, partial(evaluation.baselines, first))
    together(group, judged, partial(evaluation.judge, judged, name))
    if not is_leader():
        return
    tracking = _tracking(config, folder, source, run_id)
    with tracking.closing():
        track_results(evaluation.results, name, folder, tracking)
        show(table(evaluation.results, name))
        show_leaderboard(benchmark.leaderboard, evaluation.results, name, folder, tracking)
        values = to_container(config)
        tracking.artifact(
            write_report(folder, tasks, evaluation.results, name, values=values, encoder=judged, run=source)
        )
    log.info("Everything is in %s", folder)


def _judge_run_files(config: DictConfig, folder: Path) -> None:
    """Judge TREC run files in place of a model."""
    path = Path(str(config.trec)).expanduser()
    benchmark: Benchmark = build(config.eval)
    tasks = list(benchmark.tasks(corpus=False))
    options: EvaluationOptions = build(config.evaluation)
    results = Results(
        {"scorer": "pytrec_eval", "depth": options.top_k, "headline": benchmark.headline, "trec": str(path)},
        benchmark.groups,
    )
    name = path.resolve().name.strip(".").split(".")[0]  # trec=. has a name too
    system = replaying(run_files(path, [task.name for task in tasks]), depth=options.top_k)
    evaluate_tasks(tasks, {name: system}, results, searched=False)
    results.write(folder, judged=name)
    tracking = _tracking(config, folder)
    with tracking.closing():
        track_results(results, name, folder, tracking)
        show(table(results, name))
        show_leaderboard(benchmark.leaderboard, results, name, folder, tracking)
        tracking.artifact(write_report(folder, tasks, results, name, values=to_container(config)))
    log.info("Everything is in %s", folder)


def run_files(path: Path, tasks: Sequence[str]) -> dict[str, Path]:
    """The run file of each task: `path` itself, or the one file of a folder whose name holds the task's.

    Raises:
        InputError: there is none, or more than one.
    """
    if path.is_file() and len(tasks) == 1:
        return {tasks[0]: path}
    if not path.is_dir():
        what = "is one file for several tasks" if path.is_file() else "doesn't exist"
        raise InputError(f"trec={path} {what} ({', '.join(tasks)}): give a folder with a run file a task, or one task")
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    found = {}
    for task in tasks:
        named = [file for file in files if task in str(file.relative_to(path))]
        if len(named) != 1:
            many = f"{len(named)} files name it ({named[0]}, ...)" if named else "no file names it"
            raise InputError(f"trec={path}: task {task}: {many}: give exactly one run file a task")
        found[task] = named[0]
    return found


def _models(config: DictConfig, source: Path | None) -> tuple[Model, Model | None]:
    """(the model before training, the trained one or None where there is no run)."""
    if source is None:
        if config.get("model") is None:
            raise InputError("nothing to evaluate: name a run (run=outputs/...) or a model (model=minilm)")
        return build(config.model), None
    trust = {"trust_remote_code": config.trust_remote_code}
    return build(untrained_model(source, **trust)), build(exported_model(source, **trust))


def _held_out(config: DictConfig, source: Path | None) -> RetrievalData:
    """What the data of a run, or `config.data`, keeps for testing; as a run with the same data and options holds it.

    Raises:
        InputError: the data isn't any more what the run was trained on.
    """
    home = Path(config.home)
    if source is None:
        data = RetrievalData(build(config.data), LoaderOptions(), home=home, seed=config.seed, tested=True)
    else:
        saved, trust = saved_config(source), config.trust_remote_code
        options = LoaderOptions(**{key: value for key, value in saved.get("loader", {}).items() if key != "_target_"})
        own = build(saved_data(source, trust_remote_code=trust))
        data = RetrievalData(own, options, home=home, seed=saved["seed"], tested=True)
        refuse_other_data(data.source, source)
    data.hold_out()
    return data


def _take_from_run(config: DictConfig, source: Path) -> None:
    """Let the evaluation know the data that the run was trained on and, where no other is chosen, its evaluation."""
    if config.data is not None:
        raise InputError(
            f"data= can't be chosen for run={config.run}, which brings its own: leave it out, or judge its weights as "
            f"a model of its own (model=any model.path={source / 'model'})"
        )
    if not overridden("eval"):
        config.eval = saved_eval(source, trust_remote_code=config.trust_remote_code)
    if "${data" in OmegaConf.to_yaml(config.eval):  # eval=test_split; others are evaluated whatever the data names
        config.data = saved_data(source, trust_remote_code=config.trust_remote_code)


def _tracking(config: DictConfig, folder: Path, source: Path | None = None, run_id: str | None = None) -> Tracking:
    """The run that is judged, continued, where MLflow knows it; otherwise one for this evaluation."""
    tracking = open_tracking(
        config.logger,
        Path(config.home),
        experiment_name=config.experiment_name,
        name=f"evaluate-{folder.name}",
        folder=folder,
        tags={key: str(value) for key, value in config.tags.items()},
        run=source,
        run_id=run_id,
    )
    if source:  # what it was judged by before stays
        tracking.place = f"evaluations/{folder.name}"
    return tracking
