"""Query and document vectors of a step on all devices, for objectives on the vector space.

Shape letters: N texts of all devices, D vector size, P relevant pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.loss.base import RetrievalOutputs


def both_sides(outputs: RetrievalOutputs) -> tuple[Tensor, Tensor]:
    """Return (queries_ND, documents_ND) of all devices, each distinct document once, hard negatives included."""
    return outputs.ranks.gather(outputs.queries).values_TD, outputs.documents.values_TD


def positives(outputs: RetrievalOutputs) -> tuple[Tensor, Tensor]:
    """Return (queries_PD, documents_PD) of the relevant pairs of all devices; for heads with one vector per text."""
    pairs_PE = torch.cat(
        [
            outputs.queries.values_TD.index_select(0, outputs.query_P[outputs.relevant_R]),
            outputs.documents.values_TD.index_select(0, outputs.document_P[outputs.relevant_R]),
        ],
        dim=1,
    )
    gathered = outputs.ranks.gather(Representation(pairs_PE, torch.ones(pairs_PE.shape[0], dtype=torch.int64)))
    queries_PD, documents_PD = gathered.values_TD.chunk(2, dim=1)
    return queries_PD, documents_PD
