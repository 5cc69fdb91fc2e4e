from math import exp, log

import pytest

from reasonir.loss.cached_contrastive import CachedContrastive
from tests.loss.outputs import retrieval_outputs


def test_each_relevant_pair_is_contrasted_with_its_querys_negatives():
    terms = CachedContrastive(temperature=0.5)(
        retrieval_outputs(
            [[1.0, 0.5, 9.0], [0.0, 2.0, 1.0]], [(0, 0, 1.0), (1, 1, 1.0)], [[False, True, False], [True, False, True]]
        )
    )
    first = log(exp(2) + exp(1)) - 2
    second = log(exp(0) + exp(4) + exp(2)) - 4
    assert terms["loss"].item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert terms["accuracy"].item() == 1.0


def test_several_positives_of_a_query_are_contrasted_one_by_one():
    terms = CachedContrastive(temperature=1.0)(
        retrieval_outputs([[1.0, 3.0, 2.0]], [(0, 0, 1.0), (0, 1, 1.0), (0, 2, 0.0)], [[False, False, True]])
    )
    assert terms["loss"].item() == pytest.approx((log(exp(1) + exp(2)) - 1 + log(exp(3) + exp(2)) - 3) / 2, rel=1e-5)
    assert terms["accuracy"].item() == 0.5


def test_it_trains_retrievers():
    assert CachedContrastive.accepts == {"retriever"}
