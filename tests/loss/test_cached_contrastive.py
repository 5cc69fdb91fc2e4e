from dataclasses import replace
from math import exp, log

import pytest
import torch

from reasonir.errors import InputError
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


def test_a_hard_negative_counts_more_than_another():
    """Each negative's exponential is multiplied by that of hardness times its score, which has no gradient."""
    scores = torch.tensor([[1.0, 0.5, -0.5]], requires_grad=True)
    given = retrieval_outputs(scores, [(0, 0, 1.0), (0, 1, 0.0)], [[False, True, True]])
    terms = CachedContrastive(0.5, hardness=3.0)(given)
    positive, first, second = exp(2), exp(1) * exp(1.5), exp(-1) * exp(-1.5)
    total = positive + first + second
    assert terms["loss"].item() == pytest.approx(log(total / positive), rel=1e-5)
    terms["loss"].backward()
    expected = [(positive / total - 1) / 0.5, first / total / 0.5, second / total / 0.5]
    assert scores.grad[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_accuracy_has_no_weights():
    given = retrieval_outputs([[1.0, 0.9]], [(0, 0, 1.0)], [[False, True]])
    assert CachedContrastive(1.0, hardness=50.0)(given)["accuracy"] == 1


@pytest.mark.parametrize(("step", "temperature"), [(0, 0.9), (5, 0.5), (10, 0.1), (1000, 0.1)])
def test_the_temperature_is_a_function_of_the_batch(step, temperature):
    given = replace(retrieval_outputs([[1.0, 0.5]], [(0, 0, 1.0)], [[False, True]]), step=step)
    terms = CachedContrastive(0.9, final_temperature=0.1, cooling=10)(given)
    assert terms["temperature"].item() == pytest.approx(temperature)
    assert terms["loss"].item() == pytest.approx(CachedContrastive(temperature)(given)["loss"].item(), rel=1e-5)


@pytest.mark.parametrize("half", [{"final_temperature": 0.1}, {"cooling": 10}])
def test_half_a_schedule_is_refused(half):
    with pytest.raises(InputError, match="final_temperature and cooling belong together"):
        CachedContrastive(0.5, **half)


def test_it_trains_retrievers():
    assert CachedContrastive.accepts == {"retriever"}
