"""FAISS's rounded search held against the same rounding done by hand."""

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
    found = exact(DOCUMENTS, QUERIES, 10, euclidean=euclidean)
    expected = scores(DOCUMENTS, QUERIES, euclidean)
    assert found.places_QK.tolist() == np.argsort(-expected, axis=1)[:, :10].tolist()
    assert found.scores_QK == pytest.approx(np.take_along_axis(expected, found.places_QK, 1), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("euclidean", [False, True])
def test_a_byte_a_number_scores_what_the_rounded_numbers_score(euclidean):
    low, high = DOCUMENTS.min(0), DOCUMENTS.max(0)
    codes = np.floor((DOCUMENTS - low) / (high - low) * 255).clip(0, 255)
    rounded = low + (codes + 0.5) / 255 * (high - low)
    found = int8(DOCUMENTS, QUERIES, 10, euclidean=euclidean)
    expected = np.take_along_axis(scores(rounded, QUERIES, euclidean), found.places_QK, 1)
    assert found.scores_QK == pytest.approx(expected, rel=1e-3, abs=1e-2)
    assert (np.diff(found.scores_QK) <= 0).all()


def test_signs_are_counted_and_then_weighed():
    found = binary(DOCUMENTS, QUERIES, 50)
    differing = ((QUERIES > 0)[:, None] != (DOCUMENTS > 0)[None]).sum(2)
    assert (found.scores_QK == -np.sort(differing, axis=1)[:, :50]).all()
    assert (np.take_along_axis(differing, found.places_QK, 1) == -found.scores_QK).all()
    again = rescored(found, DOCUMENTS, QUERIES)
    expected = QUERIES @ np.where(DOCUMENTS > 0, 1, -1).T
    for row, (places, first) in enumerate(zip(again.places_QK, found.places_QK, strict=True)):
        assert places.tolist() == sorted(first.tolist(), key=lambda place: -expected[row, place])
    assert again.scores_QK == pytest.approx(np.take_along_axis(expected, again.places_QK, 1), abs=1e-4)


def test_sizes_that_fill_no_byte_are_searched_by_their_signs_too():
    found = binary(DOCUMENTS[:, :13], QUERIES[:, :13], 3)
    differing = ((QUERIES[:, :13] > 0)[:, None] != (DOCUMENTS[:, :13] > 0)[None]).sum(2)
    assert (-found.scores_QK == np.sort(differing, axis=1)[:, :3]).all()


@pytest.mark.parametrize("euclidean", [False, True])
def test_few_centroids_lose_a_little_and_as_many_as_documents_nothing(euclidean):
    best = exact(DOCUMENTS[:256], QUERIES, 1, euclidean=euclidean)
    same = product(DOCUMENTS[:256], QUERIES, 1, codes=16, euclidean=euclidean)  # a centroid a document
    assert same.scores_QK == pytest.approx(best.scores_QK, rel=1e-3, abs=1e-3)
    lossy = product(DOCUMENTS, QUERIES, 10, codes=16, euclidean=euclidean)
    first = exact(DOCUMENTS, QUERIES, 10, euclidean=euclidean).places_QK
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(lossy.places_QK, first, strict=True)])
    assert 0.5 < shared < 1


def test_a_product_needs_parts_that_fit_and_documents_enough():
    assert product_fits(256, 384, codes=16)
    assert not product_fits(255, 384, codes=16)
    assert not product_fits(256, 380, codes=16)


@pytest.mark.parametrize("euclidean", [False, True])
def test_a_graph_finds_more_with_more_effort(euclidean):
    first = exact(DOCUMENTS, QUERIES, 10, euclidean=euclidean).places_QK
    found = graph(DOCUMENTS, QUERIES, 10, efforts=(10, 600), euclidean=euclidean)
    shared = {
        effort: np.mean([len(set(a) & set(b)) / 10 for a, b in zip(places, first, strict=True)])
        for effort, places in found.items()
    }
    assert shared[10] <= shared[600] == 1
