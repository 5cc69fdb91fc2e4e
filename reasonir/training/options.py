"""Options of the training loop: its batches, length and steps, checkpoints, development evaluation, early stopping."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from reasonir.utils.ranges import NonNegative, NonNegativeFloat, Positive, Rule, ShareOrCount, Validated

_TIME = Rule(
    lambda time: bool(re.fullmatch(r"\d+(:\d\d){3}", time)) and time.strip("0:") != "",
    "days:hours:minutes:seconds, as 00:12:00:00",
)


@dataclass(frozen=True, slots=True)
class TrainerOptions(Validated):
    """Options of Lightning's Trainer that a run chooses; the others follow from the hardware profile and the run.

    Attributes:
        max_epochs: passes over the training data; None or -1 for no limit.
        max_steps: optimiser steps; -1 for no limit.
        max_time: time after which training stops, as days:hours:minutes:seconds; None for no limit.
        accumulate_grad_batches: batches per optimiser step.
        gradient_clip_val: largest gradient norm or value; None or 0 doesn't clip.
        gradient_clip_algorithm: "norm" or "value"; None is norm.
        log_every_n_steps: optimiser steps between logged numbers.
        deterministic: use deterministic kernels only; "warn" warns where there are none.
        benchmark: let cuDNN choose kernels by timing them; None is Lightning's choice.
        detect_anomaly: autograd's anomaly detection.
        profiler: Lightning's profiler.
    """

    max_epochs: Positive | Literal[-1] | None = 1
    max_steps: Positive | Literal[-1] = -1
    max_time: Annotated[str, _TIME] | None = None
    accumulate_grad_batches: Positive = 1
    gradient_clip_val: NonNegativeFloat | None = 1.0
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    log_every_n_steps: Positive = 5
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    detect_anomaly: bool = False
    profiler: Literal["simple", "advanced", "pytorch"] | None = None

    def problems(self) -> Iterable[str]:
        """Yield a training without an end, whose schedule has no length."""
        if self.max_epochs in (None, -1) and self.max_steps == -1:
            yield f"max_epochs={self.max_epochs}: training has no end: give 1 or more, or set trainer.max_steps"


@dataclass(frozen=True, slots=True)
class LoaderOptions(Validated):
    """Batch construction from a prepared set.

    Attributes:
        batch_size: items per step over all devices.
        negatives: hard negatives drawn per item, if the data has any.
        homogeneous: fill every batch from one source of a mixture.
        positives: one item per relevant pair ("each"), or per query with "all" its relevant documents.
        sample_size: number of training queries, drawn by the seed; None trains on all.
        dev_size: development queries held out of the data: a share below 1, otherwise a number; 0 for none. Ignored if
            the source has its own development task.
        test_size: test queries held out of the data, a share or a number, if the run is evaluated on its own data
            (eval=test_split) and the source has no test queries.
        dev_documents: number of documents that the development queries search.
        workers: processes that build batches; 0 builds them in the training process.
    """

    batch_size: Annotated[int, Ge(2)] = 64
    negatives: NonNegative = 1
    homogeneous: bool = False
    positives: Literal["each", "all"] = "each"
    sample_size: Annotated[int, Ge(2)] | None = None
    dev_size: ShareOrCount = 0.05
    test_size: ShareOrCount = 0.05
    dev_documents: Positive = 5000
    workers: Annotated[int, Ge(0), Le(256)] = 2


@dataclass(frozen=True, slots=True)
class CheckpointOptions(Validated):
    """Resumable checkpoints.

    Attributes:
        every_n_steps: optimiser steps between two checkpoints.
        keep_last: number of newest checkpoints to keep.
    """

    every_n_steps: Positive = 100
    keep_last: Positive = 2


@dataclass(frozen=True, slots=True)
class DevEvalOptions(Validated):
    """Evaluation on the development queries during training.

    Attributes:
        every_n_steps: optimiser steps between two evaluations; None for one per epoch.
    """

    every_n_steps: Positive | None = None


@dataclass(frozen=True, slots=True)
class EarlyStoppingOptions(Validated):
    """Early stopping on the development metric.

    Attributes:
        patience: development evaluations without improvement after which training stops; None never stops early.
    """

    patience: Positive | None = None
