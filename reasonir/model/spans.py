"""Assignment of tokens to labelled spans, by characters: exact for any tokenizer, separator and language.

A token's characters exclude white space (unless it has nothing else): tokenizers differ in whether a token begins with
the space before it. Shape letters: T tokens, S spans.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NOWHERE = -1


def spans_of_tokens(text: str, offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the span that contains most of each token, the first of equals; `NOWHERE` if it contains less than half.

    Args:
        text: the document.
        offsets: characters [start, end) of each token; an empty token belongs nowhere.
        spans: characters [start, end) of each span, without overlaps.
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
    span_T = inside_TS.argmax(1)
    shared_T = inside_TS[np.arange(len(offsets)), span_T]
    return np.where((shared_T > 0) & (2 * shared_T >= size_T), span_T, NOWHERE)
