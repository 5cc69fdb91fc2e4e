"""Composition of a configuration into the built parts of a command; nothing below commands sees a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from lightning import Callback
from omegaconf import DictConfig, OmegaConf

from reasonir.cli.configuration import build, options, overridden
from reasonir.config import strip_targets
from reasonir.data.base import Source
from reasonir.data.batches.lengths import LengthOptions
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.eval.evaluator import EvaluationOptions
from reasonir.hardware import Hardware
from reasonir.index.base import Index
from reasonir.loss.base import Objective
from reasonir.mining.base import Mining
from reasonir.model.backbone import Model
from reasonir.model.encoder import Embedder
from reasonir.runs.folder import exported_model, saved_config, saved_data, saved_eval, untrained_model
from reasonir.runs.overrides import flags_of, overrides_of
from reasonir.runs.plain_values import plain_values
from reasonir.sweep.jobs import JobInfo, present_job
from reasonir.teacher.base import Teacher
from reasonir.tracking.base import Loggers, folder_of_run
from reasonir.tracking.tags import choices
from reasonir.training.checkpoints import find_checkpoint
from reasonir.training.datamodule import loader_of
from reasonir.training.optim import Optim
from reasonir.training.options import (
    CheckpointOptions,
    DevEvalOptions,
    EarlyStoppingOptions,
    LoaderOptions,
    TrainerOptions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Common parts of commands that write a tracked folder.

    Attributes:
        home: root of data, caches, MLflow's database and outputs.
        folder: of this command's output.
        seed: of every random choice.
        loggers: destinations of metrics.
        experiment_name: the MLflow experiment.
        tags: of the tracked run.
        values: the resolved configuration, as plain values, without those of environment variables.
        line: the command line, to repeat the command.
    """

    home: Path
    folder: Path
    seed: int
    loggers: Loggers
    experiment_name: str
    tags: Mapping[str, str]
    values: Mapping[str, Any]
    line: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainParts(Command):
    """Parts of a training run.

    Attributes:
        run_name: of the tracked run, outside of a sweep.
        job: of the sweep that the run belongs to, None outside of a sweep.
        choices: chosen options of the config groups that distinguish runs.
        resume: the checkpoint to continue from.
        dry_run: only plan.
        probe: only measure two steps.
        model: backbone and head.
        hardware: the profile.
        profiles: all profiles by name, for a dry run.
        source: of the examples.
        loader: batch construction.
        lengths: fitting of lengths to the data.
        mining: of hard negatives.
        teacher: scores documents.
        objective: the loss.
        optim: the optimiser and its schedule.
        trainer: options of Lightning's Trainer.
        callbacks: further Lightning callbacks.
        checkpoint: when to save.
        dev_eval: when to evaluate on the development queries.
        early_stopping: when to stop early.
        benchmark: tasks of the final evaluation.
        index: builds the index of an encoder.
        index_stamp: the index's name and options, for the protocol.
        evaluation: baselines, depths and caches of the final evaluation.
    """

    run_name: str
    job: JobInfo | None
    choices: Mapping[str, str]
    resume: Path | None
    dry_run: bool
    probe: bool
    model: Model
    hardware: Hardware
    profiles: Mapping[str, Hardware]
    source: Source
    loader: LoaderOptions
    lengths: LengthOptions
    mining: Mining
    teacher: Teacher
    objective: Objective
    optim: Optim
    trainer: TrainerOptions
    callbacks: Mapping[str, Callback]
    checkpoint: CheckpointOptions
    dev_eval: DevEvalOptions
    early_stopping: EarlyStoppingOptions
    benchmark: Benchmark
    index: Callable[[Embedder], Index]
    index_stamp: Mapping[str, Any]
    evaluation: EvaluationOptions

    def with_head_options(self, options: Mapping[str, int]) -> TrainParts:
        """Return these parts with further options of the head, also in `values`."""
        loader: Any = self.model.head
        head = partial(loader.func, *loader.args, **{**loader.keywords, **options})
        model = self.values["model"]
        values = {**self.values, "model": {**model, "head": {**model["head"], **options}}}
        return replace(self, model=replace(self.model, head=head), values=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateParts(Command):
    """Parts of an evaluation.

    Attributes:
        run: folder of the trained run, None for a model without a run.
        trec: run files that are evaluated instead of a model.
        untrained: the model before training, or without a run; None for run files.
        trained: the run's exported model, None without a run.
        model_seed: for weights that the checkpoint doesn't have.
        hardware: the profile.
        benchmark: the tasks.
        held_out: source, loader options and seed of the data whose held-out queries the benchmark or the index uses.
        index: builds the index of an encoder.
        index_stamp: the index's name and options, for the protocol.
        evaluation: baselines, depths and caches.
    """

    run: Path | None
    trec: Path | None
    untrained: Model | None
    trained: Model | None
    model_seed: int
    hardware: Hardware
    benchmark: Benchmark
    held_out: tuple[Source, LoaderOptions, int] | None
    index: Callable[[Embedder], Index]
    index_stamp: Mapping[str, Any]
    evaluation: EvaluationOptions


def compose_train(config: DictConfig, folder: Path) -> TrainParts:
    """Build the parts of a training run in `folder`.

    Raises:
        InputError: a part refuses its options, or a named run or checkpoint doesn't exist.
    """
    return TrainParts(
        **command_parts(config, folder),
        run_name=config.run_name,
        job=present_job(),
        choices=choices(HydraConfig.get().runtime.choices),
        resume=find_checkpoint(config.resume) if config.resume else None,
        dry_run=config.dry_run,
        probe=config.probe,
        model=build(config.model),
        hardware=build(config.hardware),
        profiles=options("hardware") if config.dry_run else {},
        source=build(config.data),
        loader=build(config.loader),
        lengths=build(config.lengths),
        mining=build(config.mining),
        teacher=compose_teacher(config),
        objective=build(config.loss),
        optim=build(config.optim),
        trainer=build(config.trainer),
        callbacks=build(config.callbacks) or {},
        checkpoint=build(config.checkpoint),
        dev_eval=build(config.dev_eval),
        early_stopping=build(config.early_stopping),
        benchmark=build(config.eval),
        index=build(config.index),
        index_stamp=_index_stamp(config.index),
        evaluation=build(config.evaluation),
    )


def compose_evaluate(config: DictConfig, folder: Path) -> EvaluateParts:
    """Build the parts of an evaluation in `folder`; a run's model, data and evaluation come from its configuration.

    Raises:
        InputError: a part refuses its options, there is nothing to evaluate, or the run can't be used.
    """
    home, trust = Path(config.home), config.trust_remote_code
    run = folder_of_run(str(config.run), home) if config.run and not config.trec else None
    if run is not None:
        config = _with_parts_of(config, run)
    elif not config.trec and config.get("model") is None:
        raise InputError("nothing to evaluate: name a run (run=outputs/...) or a model (model=minilm)")
    benchmark: Benchmark = build(config.eval)
    seed = saved_config(run)["seed"] if run else config.seed
    model = build(config.model) if config.get("model") is not None else None
    return EvaluateParts(
        **command_parts(config, folder),
        run=run,
        trec=Path(str(config.trec)).expanduser() if config.trec else None,
        untrained=untrained_model(run, trust_remote_code=trust) if run else model,
        trained=exported_model(run, trust_remote_code=trust) if run else None,
        model_seed=seed,
        hardware=build(config.hardware),
        benchmark=benchmark,
        held_out=_held_out(config, run, seed) if benchmark.needs_held_out or _chooses(config) else None,
        index=build(config.index),
        index_stamp=_index_stamp(config.index),
        evaluation=build(config.evaluation),
    )


def _chooses(config: DictConfig) -> bool:
    """Return whether development queries choose a weight, of a fusion or of a pipeline's reranker."""
    stages = config.eval.get("stages") or {}
    return any(
        key in part and part[key] is None for part, key in ((config.index, "weight"), (stages, "reranker_weight"))
    )


def _held_out(config: DictConfig, run: Path | None, seed: int) -> tuple[Source, LoaderOptions, int] | None:
    """Data whose held-out queries are evaluated: a run's own, or the chosen `data`."""
    if run is None:
        return None if config.data is None else (build(config.data), LoaderOptions(), seed)
    source = build(OmegaConf.create(saved_data(run, trust_remote_code=config.trust_remote_code)))
    return source, loader_of(run), seed


def compose_teacher(config: DictConfig) -> Teacher:
    """Build the teacher; `teacher.run` replaces `teacher.model` by the run's exported model.

    Raises:
        InputError: there is no such run, or its model reads no pairs.
    """
    teacher: Any = build(config.teacher)
    if config.teacher.get("run"):
        run = folder_of_run(str(config.teacher.run), Path(config.home))
        teacher = replace(teacher, model=exported_model(run, trust_remote_code=config.trust_remote_code))
    return teacher  # type: ignore[no-any-return]


def command_parts(config: DictConfig, folder: Path) -> dict[str, Any]:
    """The fields of `Command` that `config` composes."""
    hydra, values = HydraConfig.get(), plain_values(config)
    return {
        "home": Path(config.home),
        "folder": folder,
        "seed": config.seed,
        "loggers": build(config.logger),
        "experiment_name": config.experiment_name,
        "tags": {key: str(value) for key, value in values["tags"].items()},
        "values": values,
        "line": [
            "python",
            "-m",
            str(hydra.job.name).replace("-", "."),
            *flags_of(hydra),
            *overrides_of(hydra),
        ],
    }


def _with_parts_of(config: DictConfig, run: Path) -> DictConfig:
    """Configuration with a run's training data and, if no other evaluation is chosen, the run's own."""
    trust, parts = config.trust_remote_code, {}
    if not overridden("eval"):
        parts["eval"] = saved_eval(run, trust_remote_code=trust)
    if "${data" in OmegaConf.to_yaml(parts.get("eval", config.eval)):  # other evaluations don't use the run's data
        parts["data"] = saved_data(run, trust_remote_code=trust)
    config = config.copy()
    for name, part in parts.items():
        config[name] = part
    return config


def _index_stamp(index: DictConfig) -> dict[str, Any]:
    return {"name": get_object(index._target_).name, **strip_targets(_plain(index))}


def _plain(node: DictConfig) -> dict[str, Any]:
    container: Any = OmegaConf.to_container(node, resolve=True)
    return container  # type: ignore[no-any-return]
