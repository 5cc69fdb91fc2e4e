"""Outputs of heads for tests of objectives, written out by hand."""

import torch

from reasonir.data.batch import Representation
from reasonir.distributed.ranks import Alone
from reasonir.loss.base import PairOutputs, RetrievalOutputs


def pair_outputs(scores, labels, *, queries=None, **teachers):
    """Outputs for pairs of a single query, or of `queries`."""
    query_P = queries if queries is not None else [0] * len(labels)
    return PairOutputs(
        scores_P=torch.as_tensor(scores, dtype=torch.float32),
        query_P=torch.tensor(query_P),
        label_P=torch.tensor(labels, dtype=torch.float32),
        **known(query_P, labels),
        teachers_P={name: torch.tensor(values, dtype=torch.float32) for name, values in teachers.items()},
        ranks=Alone(),
        step=0,
    )


def retrieval_outputs(scores, pairs, negatives, *, queries=None, documents=None, normalised=False):
    """Outputs for every query with every document; pairs are (query, document, label)."""
    query, document, label = zip(*pairs, strict=True)
    scores_QN = torch.as_tensor(scores)
    return RetrievalOutputs(
        scores_P=scores_QN[list(query), list(document)],
        query_P=torch.tensor(query),
        label_P=torch.tensor(label),
        **known(query, label),
        teachers_P={},
        ranks=Alone(),
        step=0,
        scores_QN=scores_QN,
        document_P=torch.tensor(document),
        negative_QN=torch.tensor(negatives),
        query_key_Q=torch.arange(len(scores_QN)),
        score=lambda first, second: first.values_TD @ second.values_TD.T,
        queries=representation(queries),
        documents=representation(documents),
        normalised=normalised,
    )


def known(queries, labels):
    """What the engine knows before: the relevant pairs, and the shape of a row per query."""
    return {
        "relevant_R": torch.tensor([pair for pair, label in enumerate(labels) if label > 0], dtype=torch.int64),
        "shape_QG": (max(queries) + 1, max(map(queries.count, queries))),
    }


def representation(values):
    """Representation with one vector per text."""
    values_TD = torch.zeros(0, 1) if values is None else torch.as_tensor(values, dtype=torch.float32)
    return Representation(values_TD, torch.ones(len(values_TD), dtype=torch.int64))
