"""Passages with the model's evidence: ColBERT's matched tokens shaded, a pruner's dropped sentences struck through.

A long document is cut to the window with the most marked weight.

Shape letters: S query vectors, T document vectors, D vector size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np

from reasonir.model.encoder import Encoder
from reasonir.model.span_scoring import MIN_ROOM, score_spans
from reasonir.report.html.page import LEVELS, Match, ShownPassage, ShownPiece
from reasonir.types import Pair, Text
from reasonir.utils.sentences import sentences

Show = Callable[[Text, Sequence[str]], list[ShownPassage]]
"""Renders the passages of documents ranked for a query."""
THRESHOLD = 0.1
"""Probability up to which a sentence is struck through, the default of `Pruner.load`."""
_SHOWN, _LEAD = 700, 40


def reading_of(encoder: Encoder | None) -> tuple[str, Show]:
    """Return the meaning of a model's marks (see `Examples.reading`), and the function that marks passages."""
    evidence = encoder.head.evidence if encoder is not None else "none"
    if encoder is None or evidence == "none":
        return "plain", plainly
    if evidence == "sentences":
        return evidence, lambda query, texts: _pruned(encoder, query, texts)
    if not encoder.head.tokenizer.tokenizer.is_fast:  # only fast tokenizers give offsets
        return "plain", plainly
    return evidence, lambda query, texts: _matched(encoder, encoder.head.tokenizer, query, texts)


def plainly(_: Text, texts: Sequence[str]) -> list[ShownPassage]:
    """Return the beginnings of the documents without marks."""
    return [marked(text, []) for text in texts]


def marked(
    text: str, marks: Sequence[tuple[int, int, float, ShownPiece]], matches: Sequence[Match] = ()
) -> ShownPassage:
    """Return the window of a text with the most marked weight, cut into pieces.

    Args:
        text: the document.
        marks: (start, end, weight, piece without its text) in characters, ordered and without overlap.
        matches: token matches to list below the passage.
    """
    low, high = _window(len(text), marks)
    pieces, position = [], low
    for start, end, _, look in marks:
        if start < low or end > high:
            continue
        pieces += [ShownPiece(text[position:start]), ShownPiece(text[start:end], look.level, look.struck, look.hint)]
        position = end
    pieces.append(ShownPiece(text[position:high]))
    return ShownPassage([piece for piece in pieces if piece.text], low, len(text) - high, matches)


def _window(length: int, marks: Sequence[tuple[int, int, float, ShownPiece]]) -> tuple[int, int]:
    """Return start and end of the window: the whole text if short, the first of equally good windows."""
    if length <= _SHOWN or not marks:
        return 0, min(length, _SHOWN)
    starts = np.array([start for start, *_ in marks])
    reached = np.concatenate([[0.0], np.cumsum([weight for _, _, weight, _ in marks])])
    lows = np.array([0, *(starts - _LEAD).clip(0, length - _SHOWN)])
    first, last = np.searchsorted(starts, lows), np.searchsorted([end for _, end, *_ in marks], lows + _SHOWN, "right")
    low = int(lows[int(np.argmax(reached[np.maximum(first, last)] - reached[first]))])
    return low, low + _SHOWN


def _matched(encoder: Encoder, tokenizer: Any, query: Text, texts: Sequence[str]) -> list[ShownPassage]:
    """Shade every document's tokens by the similarities of the query tokens whose best match they are."""
    query_text, spans_S, names_S = tokenizer.vector_offsets(query, "query")
    query_S = [query_text[start:end] or name for (start, end), name in zip(spans_S, names_S, strict=True)]
    query_SD = encoder.encode([query], "query").values_TD.float().cpu()
    passages = []
    for text in texts:
        document, spans_T, names_T = tokenizer.vector_offsets(Text(text), "document")
        document_TD = encoder.encode([Text(text)], "document").values_TD.float().cpu()
        best_S, place_S = (part.tolist() for part in (query_SD @ document_TD.T).max(1))
        matches = [
            Match(query_token, document[slice(*spans_T[place])] or names_T[place], best)
            for query_token, place, best in zip(query_S, place_S, best_S, strict=True)
        ]
        taken: dict[tuple[int, int], list[Match]] = {}
        for place, match in zip(place_S, matches, strict=True):
            taken.setdefault(spans_T[place], []).append(match)
        passages.append(marked(document, _shaded(taken), matches))
    return passages


def _shaded(taken: dict[tuple[int, int], list[Match]]) -> list[tuple[int, int, float, ShownPiece]]:
    """Return marks of the matched spans; overlapping spans are merged."""
    marks: list[tuple[int, int, list[Match]]] = []
    for (start, end), matches in sorted(taken.items()):
        if start == end:
            continue
        if marks and start < marks[-1][1]:
            before = marks.pop()
            marks.append((before[0], max(before[1], end), before[2] + matches))
        else:
            marks.append((start, end, matches))
    weights = [sum(max(0.0, match.similarity) for match in matches) for *_, matches in marks]
    most = max(weights, default=0.0)
    return [
        (
            start,
            end,
            weight,
            ShownPiece(
                "",
                level=ceil(LEVELS * weight / most) if most else 0,
                hint=", ".join(f"{match.query} {match.similarity:.2f}" for match in matches),
            ),
        )
        for (start, end, matches), weight in zip(marks, weights, strict=True)
    ]


def _pruned(encoder: Encoder, query: Text, texts: Sequence[str]) -> list[ShownPassage]:
    """Mark every sentence with its probability, struck through if the pruner drops it."""
    if encoder.head.tokenizer.room(query) < MIN_ROOM:
        return plainly(query, texts)
    spans = [sentences(text) for text in texts]
    pairs = [Pair(query, Text(text), sentence_spans) for text, sentence_spans in zip(texts, spans, strict=True)]
    return [
        marked(
            text,
            [
                (start, end, keep, ShownPiece("", struck=keep <= THRESHOLD, hint=f"probability {keep:.2f}"))
                for (start, end), keep in zip(sentence_spans, scores.keep, strict=True)
            ],
        )
        for text, sentence_spans, scores in zip(texts, spans, score_spans(encoder, pairs), strict=True)
    ]
