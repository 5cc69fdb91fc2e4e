"""Which judged span of a text a token belongs to, by characters: exact for any tokenizer, separator and language.

A token's characters are those that aren't white space (all of them, in a token of nothing else): tokenizers differ in
whether a token begins with the space before it. Shape letters: T tokens, S spans.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NOWHERE = -1


def spans_of_tokens(text: str, offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """The number of the span that holds the most of each token, the first of equals; `NOWHERE` if that is under half.

    Args:
        text: the document.
        offsets: the characters [start, end) of each token; a token of none belongs nowhere.
        spans: the characters [start, end) of each span, none overlapping another.
    """
    if not offsets or not spans:
        return np.full(len(offsets), NOWHERE)
    start_T, end_T = np.array(offsets).T
    start_S, end_S = np.array(spans).T
    low_TS, high_TS = np.maximum(start_T[:, None], start_S), np.minimum(end_T[:, None], end_S)
    printed = np.cumsum([0, *(not character.isspace() for character in text)])
    size_T, inside_TS = printed[end_T] - printed[start_T], printed[np.maximum(low_TS, high_TS)] - printed[low_TS]
    blank_T = size_T == 0
    size_T = np.where(blank_T, end_T - start_T, size_T)
    inside_TS = np.where(blank_T[:, None], np.maximum(high_TS - low_TS, 0), inside_TS)
    found_T = inside_TS.argmax(1)
    held_T = inside_TS[np.arange(len(offsets)), found_T]
    return np.where((held_T > 0) & (2 * held_T >= size_T), found_T, NOWHERE)
