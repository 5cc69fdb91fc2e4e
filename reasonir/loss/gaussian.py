"""InfoNCE on the head's similarity plus SIGReg on the vectors of both sides.

The first moves relevant documents near, the second keeps the space isotropic (LeJEPA's regulariser, arXiv:2511.08544,
whose authors didn't study retrieval). Both use the batch of all devices.

Shape letters: P relevant pairs, D vector size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs, RetrieverObjective
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.sigreg import Sigreg
from reasonir.loss.vectors import positives
from reasonir.utils.ranges import NonNegativeFloat, PositiveFloat


@dataclass(frozen=True, slots=True)
class GaussianLoss(RetrieverObjective):
    """InfoNCE + weight x SIGReg.

    Attributes:
        temperature: temperature of InfoNCE.
        weight: weight of SIGReg.
        sigreg: the regulariser.
    """

    temperature: PositiveFloat
    weight: NonNegativeFloat = 0.02
    sigreg: Sigreg = field(default_factory=Sigreg)
    single_vector: ClassVar[bool] = True
    sparse: ClassVar[bool | None] = False

    def __call__(self, outputs: RetrievalOutputs) -> Mapping[str, Tensor]:
        """Return the loss, both terms, the mean distance of relevant pairs and the standard deviation of vectors."""
        contrastive, sigreg = CachedContrastive(self.temperature)(outputs), self.sigreg(outputs)
        queries_PD, documents_PD = (side_PD.detach() for side_PD in positives(outputs))
        return {
            "loss": contrastive["loss"] + self.weight * sigreg["loss"],
            "contrastive": contrastive["loss"].detach(),
            "accuracy": contrastive["accuracy"],
            "sigreg": sigreg["loss"].detach(),
            "isotropy_queries": sigreg["isotropy_queries"],
            "isotropy_documents": sigreg["isotropy_documents"],
            "positive_distance": (queries_PD - documents_PD).norm(dim=1).mean(),
            "std": torch.cat([queries_PD, documents_PD]).std(),
        }
