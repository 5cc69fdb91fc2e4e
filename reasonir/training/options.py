"""Options of the training loop: checkpoints, evaluation on the development queries, early stopping."""

from __future__ import annotations

from dataclasses import dataclass

from reasonir.utils.ranges import Positive, Validated


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
