"""Vector-space metrics of small spaces against naive loops, and of constructed spaces against known values."""

from math import exp, log

import numpy as np
import pytest
import torch

from reasonir.eval.stats import vector_space as module
from reasonir.eval.stats.vector_space import Space, figures, occurrences, skew

DRAW = torch.Generator().manual_seed(0)


def space(documents, queries, pairs=((0, 0),), euclidean=True):
    query_P, document_P = torch.tensor(pairs).T
    return Space(documents, queries, query_P, document_P, euclidean)


def unit(row):
    return row / np.linalg.norm(row)


@pytest.mark.parametrize("euclidean", [True, False])
def test_metrics_equal_naive_loops(euclidean):
    documents = torch.randn(40, 6, generator=DRAW) + torch.tensor([2.0, 0, 0, 0, 0, 0])
    queries = torch.randn(9, 6, generator=DRAW)
    if not euclidean:
        documents, queries = (torch.nn.functional.normalize(side, dim=1) for side in (documents, queries))
    pairs = ((0, 3), (0, 4), (8, 0))
    found = figures(space(documents, queries, pairs, euclidean))
    rows, asked = documents.double().numpy(), queries.double().numpy()
    others = [(unit(a), unit(b)) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
    assert found["mean_cosine"] == pytest.approx(np.mean([a @ b for a, b in others]))
    assert found["uniformity"] == pytest.approx(log(np.mean([exp(-2 * ((a - b) ** 2).sum()) for a, b in others])))
    apart = [((unit(asked[q]) - unit(rows[d])) ** 2).sum() for q, d in pairs]
    assert found["alignment"] == pytest.approx(np.mean(apart))
    gap = np.mean([unit(a) for a in asked], axis=0) - np.mean([unit(a) for a in rows], axis=0)
    assert found["centroid_gap"] == pytest.approx(np.linalg.norm(gap))
    norms = [np.linalg.norm(row) for row in rows]
    assert found["norm_variation"] == pytest.approx(np.std(norms, ddof=1) / np.mean(norms), abs=1e-6)
    values = np.linalg.eigvalsh(np.cov(rows.T))
    shares = values / values.sum()
    assert found["effective_rank"] == pytest.approx(exp(-sum(share * log(share) for share in shares)))
    assert found["top_eigenvalue_share"] == pytest.approx(shares.max())
    counts = [0] * 40
    for i, a in enumerate(rows):
        near = [(-((a - b) ** 2).sum() if euclidean else a @ b, j) for j, b in enumerate(rows) if j != i]
        for _, j in sorted(near, reverse=True)[:10]:
            counts[j] += 1
    assert occurrences(documents, 10, euclidean=euclidean).tolist() == counts
    from scipy.stats import skew as reference

    assert found["hubness_skew"] == pytest.approx(reference(counts))


def test_a_gaussian_is_distinguished_from_other_distributions():
    round_ = torch.randn(3000, 48, generator=DRAW)
    flat = round_ * torch.arange(1, 49) ** -1.0 + 1
    isotropic, cone = (figures(space(each, each[:200])) for each in (round_, flat))
    assert isotropic["effective_rank"] > 47 > 15 > cone["effective_rank"]
    assert isotropic["sigreg_documents"] == pytest.approx(1, abs=0.4)
    assert cone["sigreg_documents"] > 50
    assert abs(isotropic["mean_cosine"]) < 0.01 < 0.8 < cone["mean_cosine"]
    directions = torch.nn.functional.normalize(round_, dim=1)
    cosine = figures(space(directions, directions[:200], euclidean=False))
    assert cosine["sigreg_documents"] == pytest.approx(1, abs=0.6)  # a sphere of 48 dimensions is nearly one


def test_neighbours_are_the_same_in_blocks(monkeypatch):
    vectors = torch.randn(100, 5, generator=DRAW)
    whole = occurrences(vectors, 3, euclidean=True)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert occurrences(vectors, 3, euclidean=True).equal(whole)
    assert int(whole.sum()) == 300
    assert skew(torch.tensor([2, 2, 2])) == 0


@pytest.mark.parametrize("euclidean", [True, False])
def test_whitening_equalises_variance_and_keeps_the_order_of_axes(euclidean):
    documents = torch.randn(4000, 8, generator=DRAW) * torch.arange(1.0, 9) + 5
    white = space(documents, documents[:50] + 0.0, euclidean=euclidean).whitened()
    length = 8**0.5 if euclidean else 1
    assert white.documents_ND.norm(dim=1).tolist() == pytest.approx([length] * 4000, rel=1e-5)
    assert white.queries_QD.equal(white.documents_ND[:50])
    covariance = torch.cov(white.documents_ND.T) * (1 if euclidean else 8)
    assert covariance.flatten().tolist() == pytest.approx(torch.eye(8).flatten().tolist(), abs=0.08)
    centred = documents - documents.mean(0)
    widest = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    correlation = torch.corrcoef(torch.stack([centred @ widest, white.documents_ND[:, 0]]))[0, 1]
    assert abs(float(correlation)) > 0.9


def test_directions_without_variance_stay_zero():
    documents = torch.randn(6, 12, generator=DRAW)
    white = space(documents, torch.randn(3, 12, generator=DRAW)).whitened()
    assert (white.documents_ND[:, 5:] == 0).all()
    assert torch.isfinite(white.queries_QD).all()


def test_a_prefix_is_normalised_unless_euclidean():
    documents, queries = torch.randn(5, 4, generator=DRAW), torch.randn(2, 4, generator=DRAW)
    assert space(documents, queries).prefix(3).documents_ND.equal(documents[:, :3])
    short = space(documents, queries, euclidean=False).prefix(3)
    assert short.queries_QD.norm(dim=1).tolist() == pytest.approx([1, 1])
