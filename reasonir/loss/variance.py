"""Scale loss: the standard deviation of all numbers of the vectors should be 1, as in ragcun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs, RetrieverObjective
from reasonir.loss.vectors import positives


@dataclass(frozen=True, slots=True)
class Variance(RetrieverObjective):
    """(std - 1)^2."""

    single_vector: ClassVar[bool] = True
    vectors_only: ClassVar[bool] = True
    sparse: ClassVar[bool | None] = False
    free_length: ClassVar[bool] = True

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the loss over the relevant pairs of all devices, and the standard deviation."""
        std = torch.cat(positives(outputs)).std()
        return {"loss": (std - 1).square(), "std": std.detach()}
