"""Scores of a pruner for every span of a document of any length.

A document is read in blocks of consecutive spans that fit next to the query, so that nothing is truncated. Blocks end
at span boundaries; only a span that doesn't fit by itself is split. A span's probability is the mean over its tokens, a
document's score the highest of its blocks.

Shape letters: B blocks, T document tokens of all blocks, P pairs, S spans of all pairs.
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
_DOCUMENTS_PER_BLOCK = 512
MIN_ROOM = 16
"""Minimum tokens per block for documents that don't fit next to their query."""


@dataclass(frozen=True, slots=True)
class SpanScores:
    """Scores of a document and its spans.

    Attributes:
        score: logit of the document.
        keep: probability that each span helps; 0 for a span without tokens.
        tokens: tokens of each span.
    """

    score: float
    keep: tuple[float, ...]
    tokens: tuple[int, ...]


def score_spans(encoder: Encoder, pairs: Sequence[Pair], *, budget: int = ENCODE_TOKENS) -> list[SpanScores]:
    """Score the documents of `pairs` and their spans.

    Raises:
        InputError: the model is too short for a query and a document.
    """
    results: list[SpanScores] = []
    starts = range(0, len(pairs), _DOCUMENTS_PER_BLOCK)
    for start in progress(starts, "Pruning, in blocks of documents", total=len(starts)):
        results += _score_block(encoder, pairs[start : start + _DOCUMENTS_PER_BLOCK], budget)
    return results


def _score_block(encoder: Encoder, pairs: Sequence[Pair], budget: int) -> list[SpanScores]:
    head = encoder.head
    blocks = [(number, block) for number, pair in enumerate(pairs) for block in _blocks(head.tokenizer, pair)]
    tokens, span_T = head.tokenizer([block for _, block in blocks])
    if cut := len({number for (number, _), lost in zip(blocks, tokens.lost_query_N.tolist(), strict=True) if lost}):
        log.warning(
            "%d of %d queries are truncated next to their documents: increase model.head.max_length=%d",
            cut,
            len(pairs),
            head.tokenizer.max_length,
        )
    representation = encoder.represent(tokens, budget=budget)
    scores_B = head.scores(representation).double().cpu().numpy()
    token_logits = head.token_logits(representation)
    keep_T = token_logits.values_TD[:, 0].double().sigmoid().cpu().numpy()
    pair_B = np.array([number for number, _ in blocks])
    pair_T = np.repeat(pair_B, token_logits.lengths_N.numpy())
    first_P = np.cumsum([0, *(len(pair.spans) for pair in pairs)])
    labelled_T = ~torch.isnan(span_T).numpy()
    index_T = first_P[pair_T[labelled_T]] + span_T.numpy()[labelled_T].astype(int)
    count_S = np.bincount(index_T, minlength=first_P[-1])
    keep_S = np.bincount(index_T, keep_T[labelled_T], minlength=first_P[-1]) / np.maximum(count_S, 1)
    return [
        SpanScores(
            float(scores_B[pair_B == number].max()),
            tuple(keep_S[first_P[number] : first_P[number + 1]].tolist()),
            tuple(count_S[first_P[number] : first_P[number + 1]].tolist()),
        )
        for number in range(len(pairs))
    ]


def _blocks(tokenizer: Any, pair: Pair) -> Iterator[Pair]:
    """Yield the pair in blocks, with spans labelled by their number in the document."""
    room = tokenizer.room(pair.query)
    text = pair.document.text
    offsets = tokenizer.offsets(pair.document)
    if len(offsets) <= room:
        yield replace(pair, span_labels=tuple(map(float, range(len(pair.spans)))))
        return
    if room < MIN_ROOM:
        raise InputError(
            f"model.head.max_length={tokenizer.max_length} leaves {room} tokens for documents next to the query "
            f"{pair.query.text[:60]!r}: increase it"
        )
    starts = np.array([start for start, _ in offsets])
    ends = [end for _, end in pair.spans]
    low = 0
    while low < len(text):
        last = np.searchsorted(starts, low) + room
        limit = int(starts[last]) if last < len(starts) else len(text)
        high = _end(low, limit, ends, len(text))
        while len(tokenizer.offsets(block := _slice(pair, low, high).document)) > room:
            high = _end(low, high - 1, ends, len(text)) if len(block.text) > 1 else high
        yield _slice(pair, low, high)
        low = high


def _end(low: int, limit: int, ends: Sequence[int], length: int) -> int:
    """Return the end of a block from `low`: the end of the text, of the last span up to `limit`, or `limit`."""
    if limit >= length:
        return length
    return max((end for end in ends if low < end <= limit), default=max(limit, low + 1))


def _slice(pair: Pair, low: int, high: int) -> Pair:
    """Return the pair with the characters [low, high) of its document, and the parts of its spans within them."""
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
