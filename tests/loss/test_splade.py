"""SPLADE's objective: InfoNCE plus the FLOPS regulariser, by hand, with its warm-up."""

from dataclasses import replace

import pytest
import torch

from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.flops import Flops
from reasonir.loss.splade import SpladeLoss
from tests.loss.outputs import retrieval_outputs

QUERIES = [[1.0, 0.0, 0.0], [3.0, 0.0, 2.0]]
DOCUMENTS = [[1.0, 1.0, 0.0], [1.0, 0.0, 5.0]]


def outputs():
    scores = torch.tensor(QUERIES) @ torch.tensor(DOCUMENTS).T
    pairs, negatives = [(0, 0, 1.0), (1, 1, 1.0)], [[False, True], [True, False]]
    return retrieval_outputs(scores, pairs, negatives, queries=QUERIES, documents=DOCUMENTS)


def test_flops_are_the_squared_mean_weights_of_terms():
    terms = Flops(queries=0.5, documents=2.0)(outputs())
    assert terms["flops_queries"].item() == 2.0**2 + 1.0**2
    assert terms["flops_documents"].item() == 1.0 + 0.25 + 2.5**2
    assert terms["loss"].item() == 0.5 * 5.0 + 2.0 * 7.5
    assert (terms["query_terms"].item(), terms["document_terms"].item()) == (1.5, 2.0)


@pytest.mark.parametrize(("step", "share"), [(0, 1 / 16), (1, 1 / 4), (3, 1.0), (99, 1.0)])
def test_the_weights_rise_by_the_square(step, share):
    whole = Flops()(outputs())["loss"]
    assert Flops(warmup=3)(replace(outputs(), step=step))["loss"].item() == pytest.approx(share * whole.item())


def test_splade_is_the_sum_of_contrast_and_flops():
    terms = SpladeLoss(temperature=0.5, flops=Flops(0.5, 2.0))(outputs())
    contrast = CachedContrastive(0.5)(outputs())
    assert terms["loss"].item() == pytest.approx(contrast["loss"].item() + 17.5)
    assert terms["contrastive"] == contrast["loss"]
    assert terms["flops_documents"].item() == 7.5
