"""SIGReg (LeJEPA, Balestriero and LeCun 2025, arXiv:2511.08544): makes vectors isotropic Gaussian.

The vectors of a side are projected on random directions, and each projection's characteristic function is compared with
that of N(0, 1) by the Epps-Pulley statistic: N times the integral over t of |difference|^2, weighted by exp(-t^2 / 2).
The directions are seeded by the step's number, so that all devices use the same ones, and the statistic is that of all
devices' texts together, which is stricter than the average over smaller batches. Perfect Gaussians score `FLOOR`
whatever N and D are, vectors that collapsed to zero 0.402 N.

Shape letters: N texts of all devices, D vector size, K directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs, RetrieverObjective
from reasonir.loss.vectors import both_sides
from reasonir.utils.ranges import Positive, PositiveFloat

FLOOR = 1.0525
"""Expected value for a Gaussian sample, for t up to 3."""


@dataclass(frozen=True, slots=True)
class Sigreg(RetrieverObjective):
    """Mean statistic of queries and documents over its floor, less 1: 0 for a Gaussian.

    Vectors of length 1 are multiplied by the square root of their size first, the length of a Gaussian's.

    Attributes:
        slices: random directions per step.
        t_max: upper limit of the integral over t.
        knots: points from 0 to t_max, with trapezoids between them.
    """

    slices: Positive = 256
    t_max: PositiveFloat = 3.0
    knots: Annotated[int, Ge(2)] = 17
    sparse: ClassVar[bool | None] = False
    vectors_only: ClassVar[bool] = True

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the loss, and each side's statistic over its floor."""
        scale = outputs.documents.values_TD.shape[1] ** 0.5 if outputs.normalised else 1.0
        queries, documents = (
            self.statistic(values_ND * scale, outputs.step) / FLOOR for values_ND in both_sides(outputs)
        )
        return {
            "loss": (queries + documents) / 2 - 1,
            "isotropy_queries": queries.detach(),
            "isotropy_documents": documents.detach(),
        }

    def statistic(self, values_ND: Tensor, step: int) -> Tensor:
        """Return the mean Epps-Pulley statistic over the step's directions."""
        draw = torch.Generator().manual_seed(step)
        slices_DK = torch.randn(values_ND.shape[1], self.slices, generator=draw).to(values_ND, non_blocking=True)
        projected_NK = values_ND @ (slices_DK / slices_DK.norm(dim=0))
        total = values_ND.new_zeros(())
        width = self.t_max / (self.knots - 1)
        for number in range(self.knots):
            t = number * width
            gaussian = float(torch.tensor(-(t**2) / 2).exp())
            weight = width * gaussian * (1 if number in (0, self.knots - 1) else 2)
            angle_NK = t * projected_NK
            gap_K = (angle_NK.cos().mean(0) - gaussian).square() + angle_NK.sin().mean(0).square()
            total = total + weight * gap_K.mean()
        return values_ND.shape[0] * total
