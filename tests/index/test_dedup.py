"""Texts that occur several times are one, and every copy is found again."""

import numpy as np

from reasonir.index.dedup import Duplicates

TEXTS = ["b", "a", "b", "c", "a", "b", "d"]
DISTINCT = Duplicates.of(TEXTS)


def test_texts_are_in_order_of_first_occurrence():
    assert list(DISTINCT.texts) == ["b", "a", "c", "d"]
    assert DISTINCT.text_N.tolist() == [0, 1, 0, 2, 1, 0, 3]


def test_every_copy_of_a_text_is_found():
    positions_N, text_N = DISTINCT.positions(np.array([0, 2, 3]))
    assert positions_N.tolist() == [0, 2, 5, 3, 6]
    assert text_N.tolist() == [0, 0, 0, 1, 2]
    positions_N, text_N = DISTINCT.positions(np.arange(4))
    assert positions_N.tolist() == [0, 2, 5, 1, 4, 3, 6]
    assert [DISTINCT.texts[text] for text in text_N] == [TEXTS[position] for position in positions_N]
    assert [part.tolist() for part in DISTINCT.positions(np.array([], dtype=np.int64))] == [[], []]


def test_a_text_is_hidden_if_all_of_its_copies_are():
    assert DISTINCT.wholly_in(np.array([1, 2, 3, 4, 5])).tolist() == [1, 2]
    assert DISTINCT.wholly_in(np.arange(7)).tolist() == [0, 1, 2, 3]
    assert DISTINCT.wholly_in(np.array([], dtype=np.int64)).tolist() == []
