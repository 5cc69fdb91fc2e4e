"""Objectives on the vector space: values of Gaussian, collapsed and unit vectors; ragcun's terms by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from reasonir.errors import InputError
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.covariance import Covariance
from reasonir.loss.gaussian import GaussianLoss
from reasonir.loss.margin import Margin
from reasonir.loss.sigreg import FLOOR, Sigreg
from reasonir.loss.variance import Variance
from tests.loss.outputs import retrieval_outputs


def drawn(count, size, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def a_step(queries, documents):
    """Query i's relevant document is document i; the rest are its negatives."""
    count = len(queries)
    scores = -torch.cdist(queries, documents).square() / (2 * queries.shape[1])
    negatives = ~torch.eye(count, len(documents), dtype=torch.bool)
    return retrieval_outputs(
        scores, [(i, i, 1.0) for i in range(count)], negatives.tolist(), queries=queries, documents=documents
    )


@pytest.mark.parametrize("count", [64, 1024])
@pytest.mark.parametrize("size", [16, 512])
def test_a_gaussian_scores_the_floor_whatever_its_size(count, size):
    statistics = [Sigreg().statistic(drawn(count, size, seed), seed).item() for seed in range(8)]
    assert sum(statistics) / 8 == pytest.approx(FLOOR, abs=0.1)


@pytest.mark.parametrize("count", [32, 500])
def test_vectors_that_collapsed_score_in_proportion_to_their_number(count):
    assert Sigreg().statistic(torch.zeros(count, 64), 0).item() == pytest.approx(0.402 * count, rel=2e-3)


def test_the_statistic_is_the_integral_it_stands_for():
    values = drawn(50, 1)
    t = torch.linspace(-3, 3, 20001)
    gap = (values * t).cos().mean(0) - (-t.square() / 2).exp()
    integral = torch.trapezoid((-t.square() / 2).exp() * (gap.square() + (values * t).sin().mean(0).square()), t)
    assert Sigreg(slices=4, knots=2001).statistic(values, 0).item() == pytest.approx(50 * integral.item(), rel=1e-3)


def test_unit_vectors_look_collapsed_until_they_are_scaled():
    unit = normalize(drawn(1024, 256), dim=1)
    assert Sigreg().statistic(unit, 0) > 300
    step = a_step(unit[:512], unit[512:])
    assert abs(Sigreg()(replace(step, normalised=True))["loss"].item()) < 0.15
    assert Sigreg()(step)["loss"].item() > 100


def test_slices_are_the_steps_own():
    values = drawn(64, 32)
    first, again, other = (Sigreg(slices=4).statistic(values, step).item() for step in (1, 1, 2))
    assert first == again != other


def test_a_perfect_gaussian_of_few_vectors_is_no_isotropic_covariance():
    """The reason why sigreg is the default: 16 vectors of 512 numbers score .26 and collapse scores less."""
    step = a_step(drawn(8, 512), drawn(8, 512, 1))
    assert Covariance()(step)["loss"].item() == pytest.approx(0.258, abs=0.02)
    small = a_step(0.3 * drawn(8, 512), 0.3 * drawn(8, 512, 1))
    assert Covariance()(small)["loss"].item() == pytest.approx(0.258 * 0.09, abs=0.003)


def test_covariance_and_variance_are_those_of_the_relevant_pairs():
    queries, documents = drawn(20, 6), 2 * drawn(21, 6, 1) + 1
    step = a_step(queries, documents)
    both = torch.cat([queries, documents[:20]])
    centred = both - both.mean(0)
    covariance = centred.T @ centred / 39
    expected = (covariance - both.var() * torch.eye(6)).square().sum().sqrt() / 6
    assert Covariance()(step)["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    terms = Variance()(step)
    assert terms["std"].item() == pytest.approx(both.std().item(), rel=1e-5)
    assert terms["loss"].item() == pytest.approx((both.std().item() - 1) ** 2, rel=1e-4)


def test_the_margin_is_one_of_distances():
    queries = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    documents = torch.tensor([[1.0, 0.0], [4.0, 1.5], [0.0, 1.25]])
    step = a_step(queries, documents)
    expected = [1 - 1.25 + 1, 1.5 - 3 + 1]  # each query's nearest other document
    assert Margin(1.0)(step)["loss"].item() == pytest.approx((expected[0] + max(0, expected[1])) / 2)
    gaps = [1 - math.hypot(4, 1.5) + 1, 1 - 1.25 + 1, 1.5 - 3 + 1, 1.5 - math.hypot(4, 1.25) + 1]
    terms = Margin(1.0, negatives="all")(step)
    assert terms["loss"].item() == pytest.approx(sum(max(0, gap) for gap in gaps) / 4, rel=1e-5)
    assert terms["positive_distance"].item() == pytest.approx(1.25)


def test_gaussian_is_the_sum_of_contrast_and_shape():
    step = a_step(drawn(40, 16), drawn(44, 16, 1))
    terms = GaussianLoss(temperature=0.1, weight=0.5)(step)
    parts = CachedContrastive(0.1)(step)["loss"] + 0.5 * Sigreg()(step)["loss"]
    assert terms["loss"].item() == pytest.approx(parts.item(), rel=1e-6)
    distance = torch.pairwise_distance(drawn(40, 16), drawn(44, 16, 1)[:40], eps=0).mean()
    assert terms["positive_distance"].item() == pytest.approx(distance.item(), rel=1e-5)


def test_what_can_not_be_is_refused():
    for options in ({"slices": 0}, {"knots": 1}, {"t_max": 0.0}):
        with pytest.raises(InputError, match=rf"{next(iter(options))}=.*: give "):
            Sigreg(**options)
    with pytest.raises(InputError, match="negatives=most: choose hardest or all"):
        Margin(negatives="most")
