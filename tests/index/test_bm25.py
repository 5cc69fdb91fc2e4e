import math

import numpy as np
import pytest

from reasonir.index.bm25 import Bm25, _top
from reasonir.types import Corpus, Text

CORPUS = Corpus(["a", "b", "c"], ["salted roads freeze late", "pipes burst when water freezes", "bees dance"])


def test_scores_are_lucenes_by_hand():
    index = Bm25(k1=0.9, b=0.4, stemmer=None, stopwords=None)
    index.build(Corpus(["a", "b"], ["ice ice water", "water"]))
    ranking = index.search({"q": Text("ice")}, 10)["q"]
    inverse_frequency = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    weight = 2 / (2 + 0.9 * (1 - 0.4 + 0.4 * 3 / 2))
    assert ranking == {"a": pytest.approx(inverse_frequency * weight, rel=1e-4)}


def test_stems_match_and_documents_without_a_shared_word_are_not_ranked():
    index = Bm25()
    index.build(CORPUS)
    run = index.search({"q": Text("freezing road"), "none": Text("copper")}, 10)
    assert list(run["q"]) == ["a", "b"]
    assert run["none"] == {}


def test_excluded_documents_are_removed_before_the_cut():
    index = Bm25()
    index.build(CORPUS)
    assert list(index.search({"q": Text("freezing road")}, 1, exclude={"q": frozenset({"a"})})["q"]) == ["b"]


def test_weighed_queries_follow_the_formula_on_both_sides():
    """Query "ice ice water sand": its length counts known words, a word weighs the product of both sides' weights."""
    index = Bm25(k1=0.9, b=0.4, stemmer=None, stopwords=None, weigh_query=True)
    documents = ["ice ice water", "water fire", "fire"]
    index.build(Corpus(["a", "b", "c"], documents))
    ranking = index.search({"q": Text("ice ice water sand")}, 10)["q"]

    def weight(count, length, containing):
        inverse_frequency = math.log(1 + (3 - containing + 0.5) / (containing + 0.5))
        return inverse_frequency * count / (count + 0.9 * (1 - 0.4 + 0.4 * length / 2))

    ice, water = weight(2, 3, 1), weight(1, 3, 2)  # equal in the query and in document a
    assert ranking == {
        "a": pytest.approx(ice * ice + water * water, rel=1e-4),
        "b": pytest.approx(water * weight(1, 2, 2), rel=1e-4),
    }


@pytest.mark.parametrize("k", [1, 7, 50, 400])
def test_the_first_are_those_of_a_stable_sort_of_all(k):
    draw = np.random.default_rng(0)
    scores_N = draw.integers(0, 6, 300).astype(np.float32)  # many ties, many zeros
    order = np.argsort(-scores_N, kind="stable")[:k]
    assert _top(scores_N, k).tolist() == [position for position in order if scores_N[position] > 0]
    assert _top(np.zeros(5), k).tolist() == []


def test_scores_cover_every_document():
    index = Bm25()
    index.build(CORPUS)
    scored, unknown = index.scores([Text("freezing road"), Text("copper")])
    assert dict(zip(CORPUS.ids, scored.tolist(), strict=True)) == {
        "c": 0.0,
        **index.search({"q": Text("freezing road")}, 3)["q"],
    }
    assert unknown.tolist() == [0.0, 0.0, 0.0]
