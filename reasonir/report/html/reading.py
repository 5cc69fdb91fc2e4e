"""Passages as the model reads them: ColBERT's matched tokens shaded, what a pruner drops struck through, others plain.

A long document is shown in part: where most of what is marked stands. Shape letters: S query vectors, T document
vectors, D vector size.
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
"""Gives the passages of documents that were ranked for a query."""
THRESHOLD = 0.1
"""Sentences with no higher probability are struck through, as `Pruner.load` drops them."""
_SHOWN, _LEAD = 700, 40


def reading_of(encoder: Encoder | None) -> tuple[str, Show]:
    """How the passages that a model read are marked (see `Examples.reading`), and what marks them."""
    evidence = encoder.head.evidence if encoder is not None else "none"
    if encoder is None or evidence == "none":
        return "plain", plainly
    if evidence == "sentences":
        return evidence, lambda query, texts: _pruned(encoder, query, texts)
    if not encoder.head.tokenizer.tokenizer.is_fast:  # which alone says where tokens are
        return "plain", plainly
    return evidence, lambda query, texts: _matched(encoder, encoder.head.tokenizer, query, texts)


def plainly(_: Text, texts: Sequence[str]) -> list[ShownPassage]:
    """The beginnings of the documents, nothing marked."""
    return [marked(text, []) for text in texts]


def marked(
    text: str, marks: Sequence[tuple[int, int, float, ShownPiece]], matches: Sequence[Match] = ()
) -> ShownPassage:
    """The part of a text with the most weight, up to so many characters, cut into pieces.

    Args:
        text: the document.
        marks: (start, end, weight, what the piece is apart from its text), in order, none overlapping another.
        matches: stand with the passage.
    """
    low, high = _window(len(text), marks)
    pieces, place = [], low
    for start, end, _, look in marks:
        if start < low or end > high:
            continue
        pieces += [ShownPiece(text[place:start]), ShownPiece(text[start:end], look.level, look.struck, look.hint)]
        place = end
    pieces.append(ShownPiece(text[place:high]))
    return ShownPassage([piece for piece in pieces if piece.text], low, len(text) - high, matches)


def _window(length: int, marks: Sequence[tuple[int, int, float, ShownPiece]]) -> tuple[int, int]:
    """Where the shown part begins and ends: whole where that is short, the first of equally good ones."""
    if length <= _SHOWN or not marks:
        return 0, min(length, _SHOWN)
    starts = np.array([start for start, *_ in marks])
    reached = np.concatenate([[0.0], np.cumsum([weight for _, _, weight, _ in marks])])
    lows = np.array([0, *(starts - _LEAD).clip(0, length - _SHOWN)])
    first, last = np.searchsorted(starts, lows), np.searchsorted([end for _, end, *_ in marks], lows + _SHOWN, "right")
    low = int(lows[int(np.argmax(reached[np.maximum(first, last)] - reached[first]))])
    return low, low + _SHOWN


def _matched(encoder: Encoder, tokenizer: Any, query: Text, texts: Sequence[str]) -> list[ShownPassage]:
    """Every document's tokens shaded by the similarities of the query tokens whose best match they are."""
    asked, places, names = tokenizer.vector_offsets(query, "query")
    spoken_S = [asked[start:end] or name for (start, end), name in zip(places, names, strict=True)]
    query_SD = encoder.encode([query], "query").values_TD.float().cpu()
    found = []
    for text in texts:
        read, spans_T, names_T = tokenizer.vector_offsets(Text(text), "document")
        document_TD = encoder.encode([Text(text)], "document").values_TD.float().cpu()
        best_S, place_S = (part.tolist() for part in (query_SD @ document_TD.T).max(1))
        matches = [
            Match(spoken, read[slice(*spans_T[place])] or names_T[place], best)
            for spoken, place, best in zip(spoken_S, place_S, best_S, strict=True)
        ]
        taken: dict[tuple[int, int], list[Match]] = {}
        for place, match in zip(place_S, matches, strict=True):
            taken.setdefault(spans_T[place], []).append(match)
        found.append(marked(read, _shaded(taken), matches))
    return found


def _shaded(taken: dict[tuple[int, int], list[Match]]) -> list[tuple[int, int, float, ShownPiece]]:
    """Marks of the places that matches are at; one that overlaps an earlier one is part of it."""
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
    """Every sentence with its probability, struck through where the pruner would drop it."""
    if encoder.head.tokenizer.room(query) < MIN_ROOM:
        return plainly(query, texts)
    spans = [sentences(text) for text in texts]
    pairs = [Pair(query, Text(text), found) for text, found in zip(texts, spans, strict=True)]
    return [
        marked(
            text,
            [
                (start, end, keep, ShownPiece("", struck=keep <= THRESHOLD, hint=f"probability {keep:.2f}"))
                for (start, end), keep in zip(found, opinion.keep, strict=True)
            ],
        )
        for text, found, opinion in zip(texts, spans, score_spans(encoder, pairs), strict=True)
    ]
