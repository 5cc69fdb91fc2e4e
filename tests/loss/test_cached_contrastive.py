from math import exp, log

import pytest
import torch

from reasonir.loss.base import Judged
from reasonir.loss.cached_contrastive import CachedContrastive


def judged(scores, pairs, negatives):
    query, document, label = zip(*pairs, strict=True)
    return Judged(
        torch.tensor(scores), torch.tensor(query), torch.tensor(document), torch.tensor(label), torch.tensor(negatives)
    )


def test_each_relevant_pair_is_contrasted_with_its_querys_negatives():
    found = CachedContrastive(temperature=0.5)(
        judged(
            [[1.0, 0.5, 9.0], [0.0, 2.0, 1.0]], [(0, 0, 1.0), (1, 1, 1.0)], [[False, True, False], [True, False, True]]
        )
    )
    first = log(exp(2) + exp(1)) - 2
    second = log(exp(0) + exp(4) + exp(2)) - 4
    assert found["loss"].tolist() == pytest.approx([first, second], rel=1e-5)
    assert found["accuracy"].tolist() == [1.0, 1.0]


def test_several_positives_of_a_query_are_contrasted_one_by_one():
    found = CachedContrastive(temperature=1.0)(
        judged([[1.0, 3.0, 2.0]], [(0, 0, 1.0), (0, 1, 1.0), (0, 2, 0.0)], [[False, False, True]])
    )
    assert found["loss"].tolist() == pytest.approx([log(exp(1) + exp(2)) - 1, log(exp(3) + exp(2)) - 3], rel=1e-5)
    assert found["accuracy"].tolist() == [0.0, 1.0]


def test_it_trains_retrievers():
    assert CachedContrastive.accepts == {"retriever"}
