"""Checks before training: unmet requirements of the machine, and a loss that doesn't fit the data or the teacher."""

from __future__ import annotations

from functools import partial

from reasonir.cli.startup import require
from reasonir.commands.compose import TrainParts
from reasonir.data.prepared import TEACHER
from reasonir.distributed.launch import launched, own_rank
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.hardware import Hardware
from reasonir.loss.base import LABELS, SPANS, Objective, needs_of
from reasonir.teacher.base import Teacher
from reasonir.tracking.database import refuse_unusable
from reasonir.training.datamodule import RetrievalData


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
        parts.model.locate,
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


def refuse_unread_teacher(objective: Objective, teacher: Teacher) -> None:
    """Refuse a teacher whose scores the loss doesn't read."""
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
