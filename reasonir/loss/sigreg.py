"""SIGReg (LeJEPA, Balestriero and LeCun 2025, arXiv:2511.08544): vectors that no projection tells from a Gaussian.

The vectors of a side are projected on random directions, and each projection's characteristic function is compared with
that of N(0, 1) by the Epps-Pulley statistic: N times the integral over t of |difference|^2, weighted by exp(-t^2 / 2).
The directions are drawn from the step's number, so that all devices look along the same ones, and the statistic is that
of all devices' texts together, which averages of several smaller batches would not be: a batch of many texts sees what
small ones can't. Perfect Gaussians score `FLOOR` whatever N and D are, vectors that collapsed to zero 0.402 N.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs
from reasonir.loss.vectors import both_sides
from reasonir.utils.ranges import Positive, PositiveFloat, Validated

FLOOR = 1.0525
"""What a Gaussian sample scores in expectation, for t up to 3."""


@dataclass(frozen=True, slots=True)
class Sigreg(Validated):
    """The statistic of queries and of documents, averaged, over its floor and less 1: 0 for a Gaussian.

    Attributes:
        slices: random directions a step.
        t_max: how far the characteristic functions are compared.
        knots: points from 0 to t_max, trapezoids between them.
        unit: multiply by the square root of the vectors' size first, for heads whose vectors have length 1.
    """

    slices: Positive = 256
    t_max: PositiveFloat = 3.0
    knots: Annotated[int, Ge(2)] = 17
    unit: bool = False
    accepts: ClassVar[frozenset[str]] = frozenset({"retriever"})
    needs: ClassVar[frozenset[str]] = frozenset()
    teachers: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, judged: RetrievalOutputs) -> Mapping[str, Tensor]:
        """The loss, and each side's statistic over its floor."""
        sides = [values_ND * values_ND.shape[1] ** 0.5 if self.unit else values_ND for values_ND in both_sides(judged)]
        queries, documents = (self.statistic(values_ND, judged.step) / FLOOR for values_ND in sides)
        return {
            "loss": (queries + documents) / 2 - 1,
            "isotropy_queries": queries.detach(),
            "isotropy_documents": documents.detach(),
        }

    def statistic(self, values_ND: Tensor, step: int) -> Tensor:
        """The mean Epps-Pulley statistic over the step's slices."""
        draw = torch.Generator().manual_seed(step)
        slices_DK = torch.randn(values_ND.shape[1], self.slices, generator=draw).to(values_ND)
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
