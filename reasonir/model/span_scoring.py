"""What a pruner says of every span of a document, however long that is.

A document is read in blocks of consecutive spans that fit beside the query, so that nothing is cut off. Blocks end
where spans end; only a span that alone is too long is read in several. A span's probability is the mean over its
tokens, a document's score the highest of its blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from reasonir.errors import InputError
from reasonir.model.encoder import ENCODE_TOKENS, Encoder
from reasonir.types import Pair, Text
from reasonir.utils.progress import progress

log = logging.getLogger(__name__)
_TOGETHER = 512
LEAST_ROOM = 16
"""The fewest tokens in which documents are read, a block at a time, where they don't fit beside their query."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """Of a document its score, a logit; of each of its spans the probability that it helps, and its tokens.

    A span without tokens has probability 0.
    """

    score: float
    keep: tuple[float, ...]
    tokens: tuple[int, ...]


def score_spans(encoder: Encoder, pairs: Sequence[Pair], *, budget: int = ENCODE_TOKENS) -> list[Opinion]:
    """What a pruner's encoder says of the documents of `pairs` and their spans.

    Raises:
        InputError: the model is too short for a query and a document.
    """
    found: list[Opinion] = []
    starts = range(0, len(pairs), _TOGETHER)
    for start in progress(starts, "Pruning, in blocks of documents", total=len(starts)):
        found += _opinions(encoder, pairs[start : start + _TOGETHER], budget)
    return found


def _opinions(encoder: Encoder, pairs: Sequence[Pair], budget: int) -> list[Opinion]:
    head = encoder.head
    blocks = [(number, block) for number, pair in enumerate(pairs) for block in _blocks(head.tokenizer, pair)]
    tokens, span_T = head.tokenizer([block for _, block in blocks])
    if cut := len({number for (number, _), lost in zip(blocks, tokens.lost_query_N.tolist(), strict=True) if lost}):
        log.warning(
            "%d of %d queries are cut beside their documents: raise model.head.max_length (%d tokens a pair)",
            cut,
            len(pairs),
            head.tokenizer.max_length,
        )
    read = encoder.represent(tokens, budget=budget)
    scores_B = head.scores(read).double().cpu().numpy()
    keeps = head.token_logits(read)
    keep_T = keeps.values_TD[:, 0].double().sigmoid().cpu().numpy()
    pair_B = np.array([number for number, _ in blocks])
    pair_T = np.repeat(pair_B, keeps.lengths_N.numpy())
    first_P = np.cumsum([0, *(len(pair.spans) for pair in pairs)])
    known_T = ~torch.isnan(span_T).numpy()
    place_T = first_P[pair_T[known_T]] + span_T.numpy()[known_T].astype(int)
    count_S = np.bincount(place_T, minlength=first_P[-1])
    keep_S = np.bincount(place_T, keep_T[known_T], minlength=first_P[-1]) / np.maximum(count_S, 1)
    return [
        Opinion(
            float(scores_B[pair_B == number].max()),
            tuple(keep_S[first_P[number] : first_P[number + 1]].tolist()),
            tuple(count_S[first_P[number] : first_P[number + 1]].tolist()),
        )
        for number in range(len(pairs))
    ]


def _blocks(tokenizer: Any, pair: Pair) -> Iterator[Pair]:
    """The pair cut into blocks, the spans of each labelled by their number in the document."""
    room = tokenizer.room(pair.query)
    text = pair.document.text
    offsets = tokenizer.offsets(pair.document)
    if len(offsets) <= room:
        yield replace(pair, span_labels=tuple(map(float, range(len(pair.spans)))))
        return
    if room < LEAST_ROOM:
        raise InputError(
            f"model.head.max_length={tokenizer.max_length} leaves {room} tokens for documents beside the query "
            f"{pair.query.text[:60]!r}: raise it"
        )
    starts = np.array([start for start, _ in offsets])
    ends = [end for _, end in pair.spans]
    low = 0
    while low < len(text):
        last = np.searchsorted(starts, low) + room
        limit = int(starts[last]) if last < len(starts) else len(text)
        high = _end(low, limit, ends, len(text))
        while len(tokenizer.offsets(block := _part(pair, low, high).document)) > room:
            high = _end(low, high - 1, ends, len(text)) if len(block.text) > 1 else high
        yield _part(pair, low, high)
        low = high


def _end(low: int, limit: int, ends: Sequence[int], length: int) -> int:
    """Where a block from `low` ends: at the text's end or the last end of a span up to `limit`, otherwise there."""
    if limit >= length:
        return length
    return max((end for end in ends if low < end <= limit), default=max(limit, low + 1))


def _part(pair: Pair, low: int, high: int) -> Pair:
    """The pair with the characters [low, high) of its document, and what of its spans lies in them."""
    inside = [
        (number, max(start, low) - low, min(end, high) - low)
        for number, (start, end) in enumerate(pair.spans)
        if start < high and end > low
    ]
    return Pair(
        pair.query,
        Text(pair.document.text[low:high], pair.document.instruction),
        tuple((start, end) for _, start, end in inside),
        tuple(float(number) for number, _, _ in inside),
    )
