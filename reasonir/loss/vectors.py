"""A step's query and document vectors on all devices: what objectives on the shape of the space look at.

Shape letters: N texts of all devices, D vector size, P relevant pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.loss.base import RetrievalOutputs


def both_sides(judged: RetrievalOutputs) -> tuple[Tensor, Tensor]:
    """(queries_ND, documents_ND) of all devices, each distinct document once; hard negatives are among them."""
    return judged.ranks.gather(judged.queries).values_TD, judged.documents.values_TD


def positives(judged: RetrievalOutputs) -> tuple[Tensor, Tensor]:
    """(queries_PD, documents_PD) of the relevant pairs of all devices; for heads of one vector a text."""
    relevant = judged.label_P > 0
    pairs_PE = torch.cat(
        [
            judged.queries.values_TD.index_select(0, judged.query_P[relevant]),
            judged.documents.values_TD.index_select(0, judged.document_P[relevant]),
        ],
        dim=1,
    )
    everybodys = judged.ranks.gather(Representation(pairs_PE, torch.ones(pairs_PE.shape[0], dtype=torch.int64)))
    queries_PD, documents_PD = everybodys.values_TD.chunk(2, dim=1)
    return queries_PD, documents_PD
