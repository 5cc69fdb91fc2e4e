"""Isotropy loss: distance of the covariance from a multiple of the identity, as in ragcun.

||Cov - var I||_F / D over the queries and their relevant documents together, var the variance of all numbers. With
fewer vectors than dimensions the covariance can't be isotropic: a perfect Gaussian scores .26 with 16 vectors of 512
numbers and .09 with 128, and since the value grows with the square of the scale, it then pulls vectors together.
`sigreg` has neither fault.

Shape letters: N vectors, D vector size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs, RetrieverObjective
from reasonir.loss.vectors import positives


@dataclass(frozen=True, slots=True)
class Covariance(RetrieverObjective):
    """||Cov - var I||_F / D."""

    single_vector: ClassVar[bool] = True
    vectors_only: ClassVar[bool] = True
    sparse: ClassVar[bool | None] = False

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the distance over the relevant pairs of all devices."""
        values_ND = torch.cat(positives(outputs))
        centred_ND = values_ND - values_ND.mean(0)
        covariance_DD = centred_ND.T @ centred_ND / (len(values_ND) - 1)  # torch.cov waits for the device
        isotropic_DD = values_ND.var() * torch.eye(values_ND.shape[1], device=values_ND.device)
        return {"loss": torch.linalg.matrix_norm(covariance_DD - isotropic_DD) / values_ND.shape[1]}
