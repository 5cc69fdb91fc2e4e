"""Contrast and shape together: InfoNCE on the head's similarity, and SIGReg on the vectors of both sides.

The first puts relevant documents near, the second keeps the space isotropic (LeJEPA's regulariser, arXiv:2511.08544,
whose authors didn't study retrieval). Both see the batch of all devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from reasonir.loss.base import RetrievalOutputs
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.sigreg import Sigreg
from reasonir.loss.vectors import positives
from reasonir.utils.ranges import NonNegativeFloat, PositiveFloat, Validated


@dataclass(frozen=True, slots=True)
class GaussianLoss(Validated):
    """InfoNCE + weight x SIGReg.

    Attributes:
        temperature: of InfoNCE.
        weight: of SIGReg.
        sigreg: the regulariser.
    """

    temperature: PositiveFloat
    weight: NonNegativeFloat = 0.02
    sigreg: Sigreg = field(default_factory=Sigreg)
    accepts: ClassVar[frozenset[str]] = frozenset({"retriever"})
    needs: ClassVar[frozenset[str]] = frozenset()
    teachers: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, judged: RetrievalOutputs) -> Mapping[str, Tensor]:
        """The loss, its two terms, and how far apart relevant pairs and how wide the vectors are."""
        contrast, shape = CachedContrastive(self.temperature)(judged), self.sigreg(judged)
        queries_PD, documents_PD = (side_PD.detach() for side_PD in positives(judged))
        return {
            "loss": contrast["loss"] + self.weight * shape["loss"],
            "contrastive": contrast["loss"].detach(),
            "accuracy": contrast["accuracy"],
            "sigreg": shape["loss"].detach(),
            "isotropy_queries": shape["isotropy_queries"],
            "isotropy_documents": shape["isotropy_documents"],
            "positive_distance": (queries_PD - documents_PD).norm(dim=1).mean(),
            "std": torch.cat([queries_PD, documents_PD]).std(),
        }
