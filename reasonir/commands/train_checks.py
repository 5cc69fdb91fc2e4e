"""Checks before training: unmet requirements of the machine, and a loss that doesn't fit the data or the teacher."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow.compute as pc

from reasonir.cli.startup import require
from reasonir.commands.compose import TrainParts
from reasonir.data.base import is_streamed
from reasonir.data.prepared import TEACHER
from reasonir.distributed.launch import launched, own_rank
from reasonir.errors import InputError, raise_errors
from reasonir.eval.base import Benchmark
from reasonir.hardware import Hardware
from reasonir.loss.base import ANY, LABEL, LABELS, SPANS, Objective, bounds_of, needs_of, parts_of
from reasonir.mining.none import NoMining
from reasonir.teacher.base import Teacher
from reasonir.teacher.none import NoTeacher
from reasonir.tracking.database import refuse_unusable
from reasonir.training.datamodule import RetrievalData
from reasonir.training.options import EarlyStoppingOptions


def require_resources(parts: TrainParts) -> None:
    """Refuse a run whose hardware, model, data, benchmark or loggers aren't available.

    Raises:
        InputError: naming everything that is unavailable.
    """
    tracks = own_rank() == 0 and not parts.probe
    database = partial(refuse_unusable, parts.home, parts.experiment_name)
    require(
        partial(_wrong_world_size, parts.hardware),
        parts.hardware.missing,
        parts.model.unusable,
        parts.teacher.check_available,
        parts.source.identity,
        partial(_read_first_task, parts.benchmark),
        *([partial(parts.loggers.open, parts.folder)] if tracks else []),
        *([database] if tracks and parts.loggers.mlflow else []),
    )


def _read_first_task(benchmark: Benchmark) -> None:
    """Read the first task without its documents, unless it is held out of the training data later."""
    if not benchmark.needs_held_out:
        next(benchmark.tasks(corpus=False), None)


def _wrong_world_size(hardware: Hardware) -> str | None:
    """Difference between the processes that torchrun started and the profile, None if there is none."""
    if hardware.missing() is not None:
        return None  # reported itself
    started, expected = launched(), hardware.resolve().ranks
    if started == expected or (started == 1 and hardware.nodes == 1):
        return None
    if started == 1:
        return f"hardware.nodes={hardware.nodes}: start every node's processes with torchrun (docs/scale.md)"
    return (
        f"torchrun started {started} processes, hardware={hardware.name} has {expected}: "
        "set hardware.devices to the devices per node and hardware.nodes to the number of nodes"
    )


def refuse_unfit_stream(parts: TrainParts) -> None:
    """Refuse options that need all rows of data that is read as a stream, whose end isn't known either."""
    if not is_streamed(parts.source):
        return
    needs_rows = {
        "mining": not isinstance(parts.mining, NoMining),
        "teacher": not isinstance(parts.teacher, NoTeacher),
        f"loader.sample_size={parts.loader.sample_size}": parts.loader.sample_size is not None,
    }
    problems = [
        f"{key}: needs all rows: omit it, or prepare the data (data.stream=false)"
        for key, set_ in needs_rows.items()
        if set_
    ]
    if parts.trainer.max_steps < 1:
        problems.append("trainer.max_steps=-1: a stream has no known end: say after how many steps training ends")
    raise_errors(problems, "option that doesn't fit data.stream=true")


def refuse_unfit_teacher(objective: Objective, teacher: Teacher) -> None:
    """Refuse a teacher whose scores the loss doesn't read, or can't learn from."""
    for part in parts_of(objective):
        low, high = bounds_of(part)
        if (low, high) != ANY and not teacher.bounded and teacher.columns & part.teachers:
            raise InputError(
                f"teacher.scale=logit: {type(part).__name__} learns from targets from {low:g} to {high:g}: give "
                "teacher.scale=probability, or choose a loss for any scores (loss=kl, ranknet or margin_mse)"
            )
    for name in sorted(teacher.columns - objective.teachers):
        raise InputError(
            f"teacher.name={name}: the loss doesn't read its scores: give loss.target={name} to a loss with a target "
            "(loss=kl), or omit teacher="
        )


def refuse_missing_teachers(objective: Objective, data: RetrievalData, teacher: Teacher) -> None:
    """Refuse a loss that reads teacher scores which the data doesn't have."""
    present = [name.removeprefix(TEACHER) for name in data.rows.column_names if name.startswith(TEACHER)]
    for name in sorted(objective.teachers - teacher.columns - set(present)):
        raise InputError(
            f"the loss reads the scores of teacher {name!r}, and {data.folder} has "
            f"{'those of ' + ', '.join(present) if present else 'none'}: name a teacher that it has, target=label, or "
            f"let a reranker score the data (teacher=reranker teacher.name={name})"
        )


def refuse_unfit_targets(objective: Objective, data: RetrievalData) -> None:
    """Refuse labels and teacher scores that the loss can't learn from, naming the first of each."""
    rows, faults = data.training_rows(), []
    for part in parts_of(objective):
        for target in sorted(part.teachers) or [LABEL]:
            column = "labels" if target == LABEL else f"{TEACHER}{target}"
            if column not in rows.column_names:
                continue  # in a dry run, a teacher gives no scores
            low, high = bounds_of(part)
            if outside := _first_outside(rows, column, low, high):
                faults.append(
                    f"{data.folder}: {outside} as {target!r}, and {type(part).__name__} learns from targets from "
                    f"{low:g} to {high:g}: scale them, or take a loss for any (loss=kl, ranknet or margin_mse)"
                )
    raise_errors(faults, "target that the loss can't learn from")


def _first_outside(rows: Any, column: str, low: float, high: float) -> str | None:
    """First number of a column of lists that isn't from `low` to `high`, with its query; None without one."""
    extremes = pc.min_max(pc.list_flatten(rows.with_format("arrow")[column][:])).as_py()
    if extremes["min"] is None or low <= extremes["min"] <= extremes["max"] <= high:
        return None
    for query, values in zip(rows["query_id"], rows[column], strict=True):
        if wrong := [value for value in values if not low <= value <= high]:
            return f"query {query!r} has {wrong[0]:g}"
    return None


def refuse_stopping_without_dev(options: EarlyStoppingOptions, data: RetrievalData) -> None:
    """Refuse early stopping without development queries, whose metric it follows."""
    if options.patience is not None and data.dev is None:
        raise InputError(
            f"early_stopping.patience={options.patience}: no development queries are held out: set loader.dev_size "
            "above 0, or early_stopping.patience=null"
        )


def refuse_missing_contrast(objective: Objective, data: RetrievalData) -> None:
    """Refuse data from whose batches the loss can't learn."""
    needs = needs_of(objective)
    missing = needs - data.contrasts if needs else needs
    if SPANS in missing:
        raise InputError(
            f"the loss trains pruning with labelled spans, and {data.folder} has none: take data=context_relevance, or "
            "another loss= and model/head="
        )
    if missing:
        contrast = "pairs whose labels differ" if LABELS in missing else "documents of a query that differ in relevance"
        raise InputError(
            f"the loss learns from {contrast}, and batches of {data.folder} have none: mine hard negatives "
            "(mining=bm25 or mining=model), draw random ones (mining=random), or give graded labels (data=graded). "
            "loader.negatives=0 ignores the data's own negatives"
        )
