"""Pooling against PyLate's, whose means aren't normalised, and the baselines that drop vectors."""

import pytest
import torch
from torch.nn.functional import normalize

from reasonir.data.batch import Representation
from reasonir.errors import InputError
from reasonir.index.pooling import Pooling

LENGTHS = [1, 2, 3, 17, 40, 64, 5]


@pytest.fixture(scope="module")
def documents():
    draw = torch.Generator().manual_seed(3)
    base = torch.randn(20, 16, generator=draw)
    rows = base[torch.randint(0, 20, (sum(LENGTHS),), generator=draw)]
    noisy = rows + 0.3 * torch.randn(rows.shape, generator=draw)
    return Representation(normalize(noisy, dim=-1), torch.tensor(LENGTHS))


def split(documents):
    return torch.split(documents.values_TD, documents.lengths_N.tolist())


@pytest.mark.parametrize(("factor", "protected"), [(2, 1), (3, 1), (4, 0), (2, 4), (100, 1)])
def test_clusters_are_pylates(documents, factor, protected):
    models = pytest.importorskip("pylate.models")
    expected = models.ColBERT.pool_embeddings_hierarchical(None, list(split(documents)), factor, protected)
    pooled = Pooling(factor, protected_tokens=protected)(documents)
    assert pooled.lengths_N.tolist() == [len(one) for one in expected]
    for vectors_LD, expected_LD in zip(split(pooled), expected, strict=True):
        torch.testing.assert_close(vectors_LD, normalize(expected_LD, dim=-1))


def test_a_factor_may_be_fractional(documents):
    assert Pooling(1.5, protected_tokens=0)(documents).lengths_N.tolist() == [1, 1, 2, 11, 26, 42, 3]
    assert Pooling(1.0)(documents) is documents


def test_equal_vectors_make_one_cluster_and_stay_finite():
    same = Representation(normalize(torch.ones(9, 4), dim=-1), torch.tensor([9]))
    pooled = Pooling(3)(same)
    assert 2 <= pooled.lengths_N.item() <= 3
    torch.testing.assert_close(pooled.values_TD, same.values_TD[: pooled.lengths_N.item()])


def test_first_and_random_drop_vectors(documents):
    first, chosen = (Pooling(2, kind=kind)(documents) for kind in ("first", "random"))
    expected = [1, 2, 2, 9, 20, 32, 3]
    assert first.lengths_N.tolist() == chosen.lengths_N.tolist() == expected
    for all_LD, first_LD, random_LD in zip(split(documents), split(first), split(chosen), strict=True):
        assert torch.equal(first_LD, all_LD[: len(first_LD)])
        positions = [(all_LD == row).all(1).nonzero().item() for row in random_LD]
        assert positions[0] == 0
        assert positions == sorted(set(positions))
    assert not torch.equal(first.values_TD, chosen.values_TD)
    assert not torch.equal(chosen.values_TD, Pooling(2, kind="random", seed=1)(documents).values_TD)


@pytest.mark.parametrize("kind", ["hierarchical", "first", "random"])
def test_the_cut_into_blocks_changes_nothing(documents, kind):
    pool = Pooling(2, kind=kind)
    head, tail = documents.split(3)
    together = Representation.join([pool(head), pool(tail, start=3)])
    whole = pool(documents)
    assert torch.equal(whole.values_TD, together.values_TD)
    assert torch.equal(whole.lengths_N, together.lengths_N)


def test_the_vectors_keep_their_type(documents):
    half = Pooling(2)(documents.to(dtype=torch.bfloat16))
    assert half.values_TD.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool_factor": 0.5}, r"pool_factor=0\.5: give 1 or more"),
        ({"kind": "norm"}, r"kind=norm: choose hierarchical, first or random"),
        ({"protected_tokens": -1}, r"protected_tokens=-1: give 0 or more"),
    ],
)
def test_other_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Pooling(**options)
