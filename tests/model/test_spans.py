"""Spans of tokens against a character-by-character count."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from reasonir.model.spans import NOWHERE, spans_of_tokens


def by_hand(text, offsets, spans):
    """The span with the most of a token's printed characters, if it has half of them."""
    owner_T = []
    for start, end in offsets:
        indices = [index for index in range(start, end) if not text[index].isspace()] or list(range(start, end))
        owners = Counter(number for index in indices for number, (low, high) in enumerate(spans) if low <= index < high)
        best = min(owners, key=lambda number: (-owners[number], number)) if owners else NOWHERE
        owner_T.append(best if owners and 2 * owners[best] >= len(indices) else NOWHERE)
    return owner_T


@pytest.mark.parametrize(
    ("text", "offsets", "spans", "expected"),
    [
        ("ab cd", [(0, 2), (2, 5)], [(0, 2), (3, 5)], [0, 1]),  # a token that begins with the space before it
        ("ab\nc", [(0, 2), (2, 3), (3, 4)], [(0, 2), (3, 4)], [0, -1, 1]),  # the separator is a token of its own
        ("a b", [(1, 3)], [(0, 1), (2, 3)], [1]),  # one letter behind its space: all that is printed of it
        ("一。二", [(0, 1), (1, 3)], [(0, 2), (2, 3)], [0, 0]),  # half and half: the first of both
        ("一。二三四", [(1, 5)], [(0, 2), (2, 5)], [1]),
        ("abc", [(0, 0), (0, 3)], [(0, 1)], [-1, -1]),  # no characters; under half
        ("a\n\nb", [(1, 3)], [(0, 4)], [0]),  # nothing but white space, within a span
        ("ab", [(0, 2)], [], [-1]),
        ("ab", [], [(0, 2)], []),
    ],
)
def test_tokens_are_assigned_to_spans(text, offsets, spans, expected):
    assert spans_of_tokens(text, offsets, spans).tolist() == expected


def test_any_segmentation_agrees_with_the_count():
    draw = np.random.default_rng(0)
    for _ in range(200):
        text = "".join(draw.choice(list("ab。 \n"), 24))
        cuts = np.sort(draw.choice(25, 8, replace=False)).tolist()
        spans = [(start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=True)]
        edges = np.sort(draw.choice(25, 9, replace=False)).tolist()
        offsets = list(pairwise(edges))
        assert spans_of_tokens(text, offsets, spans).tolist() == by_hand(text, offsets, spans)
