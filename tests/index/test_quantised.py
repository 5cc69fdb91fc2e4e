"""FAISS's quantised search against the same rounding by hand."""

import numpy as np
import pytest

from reasonir.index.quantised import binary, exact, graph, int8, product, product_fits, rescored

DRAW = np.random.default_rng(0)
DOCUMENTS = DRAW.standard_normal((600, 32)).astype(np.float32) * DRAW.uniform(0.5, 2, 32).astype(np.float32)
QUERIES = DOCUMENTS[:20] + DRAW.standard_normal((20, 32)).astype(np.float32) / 2


def scores(documents, queries, euclidean):
    if euclidean:
        return -((queries[:, None] - documents[None]) ** 2).sum(2)
    return queries @ documents.T


@pytest.mark.parametrize("euclidean", [False, True])
def test_exact_search_is_the_sorted_scores(euclidean):
    ranking = exact(DOCUMENTS, QUERIES, 10, euclidean=euclidean)
    expected = scores(DOCUMENTS, QUERIES, euclidean)
    assert ranking.positions_QK.tolist() == np.argsort(-expected, axis=1)[:, :10].tolist()
    assert ranking.scores_QK == pytest.approx(np.take_along_axis(expected, ranking.positions_QK, 1), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("euclidean", [False, True])
def test_int8_scores_equal_those_of_rounded_numbers(euclidean):
    low, high = DOCUMENTS.min(0), DOCUMENTS.max(0)
    codes = np.floor((DOCUMENTS - low) / (high - low) * 255).clip(0, 255)
    rounded = low + (codes + 0.5) / 255 * (high - low)
    ranking = int8(DOCUMENTS, QUERIES, 10, euclidean=euclidean)
    expected = np.take_along_axis(scores(rounded, QUERIES, euclidean), ranking.positions_QK, 1)
    assert ranking.scores_QK == pytest.approx(expected, rel=1e-3, abs=1e-2)
    assert (np.diff(ranking.scores_QK) <= 0).all()


def test_signs_are_counted_and_rescored():
    ranking = binary(DOCUMENTS, QUERIES, 50)
    differing = ((QUERIES > 0)[:, None] != (DOCUMENTS > 0)[None]).sum(2)
    assert (ranking.scores_QK == -np.sort(differing, axis=1)[:, :50]).all()
    assert (np.take_along_axis(differing, ranking.positions_QK, 1) == -ranking.scores_QK).all()
    again = rescored(ranking, DOCUMENTS, QUERIES)
    expected = QUERIES @ np.where(DOCUMENTS > 0, 1, -1).T
    for row, (positions, first) in enumerate(zip(again.positions_QK, ranking.positions_QK, strict=True)):
        assert positions.tolist() == sorted(first.tolist(), key=lambda position: -expected[row, position])
    assert again.scores_QK == pytest.approx(np.take_along_axis(expected, again.positions_QK, 1), abs=1e-4)


def test_sizes_that_fill_no_byte_are_searched_by_sign():
    ranking = binary(DOCUMENTS[:, :13], QUERIES[:, :13], 3)
    differing = ((QUERIES[:, :13] > 0)[:, None] != (DOCUMENTS[:, :13] > 0)[None]).sum(2)
    assert (-ranking.scores_QK == np.sort(differing, axis=1)[:, :3]).all()


@pytest.mark.parametrize("euclidean", [False, True])
def test_few_centroids_lose_little_and_one_per_document_nothing(euclidean):
    best = exact(DOCUMENTS[:256], QUERIES, 1, euclidean=euclidean)
    same = product(DOCUMENTS[:256], QUERIES, 1, codes=16, euclidean=euclidean)  # one centroid per document
    assert same.scores_QK == pytest.approx(best.scores_QK, rel=1e-3, abs=1e-3)
    lossy = product(DOCUMENTS, QUERIES, 10, codes=16, euclidean=euclidean)
    first = exact(DOCUMENTS, QUERIES, 10, euclidean=euclidean).positions_QK
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(lossy.positions_QK, first, strict=True)])
    assert 0.5 < shared < 1


def test_a_product_needs_parts_that_fit_and_documents_enough():
    assert product_fits(256, 384, codes=16)
    assert not product_fits(255, 384, codes=16)
    assert not product_fits(256, 380, codes=16)


@pytest.mark.parametrize("euclidean", [False, True])
def test_a_graph_finds_more_with_more_effort(euclidean):
    first = exact(DOCUMENTS, QUERIES, 10, euclidean=euclidean).positions_QK
    graphs = graph(DOCUMENTS, QUERIES, 10, efforts=(10, 600), euclidean=euclidean)
    shared = {
        effort: np.mean([len(set(a) & set(b)) / 10 for a, b in zip(positions, first, strict=True)])
        for effort, positions in graphs.items()
    }
    assert shared[10] <= shared[600] == 1
