"""InfoNCE on the inner product plus the FLOPS regulariser, SPLADE's objective without a teacher (arXiv:2109.10086).

With a teacher, as SPLADE-v3 is trained: `loss=sum` of `flops` and `margin_mse` or `kl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from reasonir.loss.base import RetrievalOutputs, RetrieverObjective
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.flops import Flops
from reasonir.utils.ranges import PositiveFloat


@dataclass(frozen=True, slots=True)
class SpladeLoss(RetrieverObjective):
    """InfoNCE + FLOPS.

    Attributes:
        temperature: temperature of InfoNCE.
        flops: the regulariser.
    """

    temperature: PositiveFloat
    flops: Flops = field(default_factory=Flops)
    sparse: ClassVar[bool | None] = True

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the loss and the values of both terms."""
        contrastive, flops = CachedContrastive(self.temperature)(outputs), self.flops(outputs)
        return {
            **flops,
            "loss": contrastive["loss"] + flops["loss"],
            "contrastive": contrastive["loss"].detach(),
            "accuracy": contrastive["accuracy"],
        }
