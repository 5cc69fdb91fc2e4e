"""Metrics of pruning: classification over all sentences of a task, compression per text.

F2 weighs recall four times as much as precision: a lost sentence costs more than a superfluous one. Precision, recall,
F2 and span accuracy are micro-averaged over sentences; compression is the mean over texts of the share of characters
removed, counted in the sentences' own characters (OpenProvence's definitions).

Shape letters: S sentences.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reasonir.index.bm25 import Bm25
from reasonir.types import Corpus, Example, Text

GRID = tuple(round(0.01 * step, 2) for step in range(1, 100))
"""Thresholds to tune over."""


@dataclass(frozen=True, slots=True)
class Sentences:
    """Labelled sentences of a task, in the order of rows and texts.

    Attributes:
        relevant_S: the label.
        weight_S: the sentence's share of its text's characters, divided by the number of texts.
        text_S: index of the text.
        half_S: 0 or 1, the half of the queries it belongs to, by a hash of the query.
    """

    relevant_S: np.ndarray
    weight_S: np.ndarray
    text_S: np.ndarray
    half_S: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Example]) -> Sentences:
        """Collect the sentences of all texts of all rows."""
        relevant, size, text, half = [], [], [], []
        number = 0
        for row in rows:
            digest = hashlib.blake2b(" ".join(row.query.lower().split()).encode(), digest_size=1).digest()
            for document in row.documents:
                relevant += [label > 0 for label in document.span_labels]
                size += [end - start for start, end in document.spans]
                text += [number] * len(document.spans)
                half += [digest[0] % 2] * len(document.spans)
                number += bool(document.spans)
        text_S, size_S = np.array(text, dtype=int), np.array(size, dtype=float)
        weight_S = size_S / np.bincount(text_S, size_S)[text_S] / max(number, 1)
        return cls(np.array(relevant, dtype=bool), weight_S, text_S, np.array(half, dtype=int))

    def figures(self, kept_S: np.ndarray) -> dict[str, float]:
        """Return the metrics of keeping `kept_S`; undefined ones are 0."""
        hit = float((kept_S & self.relevant_S).sum())
        precision = hit / max(1, int(kept_S.sum()))
        recall = hit / max(1, int(self.relevant_S.sum()))
        return {
            "f2": 5 * precision * recall / (4 * precision + recall) if hit else 0.0,
            "precision": precision,
            "recall": recall,
            "span_accuracy": float((kept_S == self.relevant_S).mean()),
            "compression": self.compression(kept_S),
        }

    def compression(self, kept_S: np.ndarray) -> float:
        """Return the mean over texts of the share of characters removed."""
        return float(1 - self.weight_S[kept_S].sum())

    def best(self, scores_S: np.ndarray, compression: float) -> np.ndarray:
        """Return a mask of the highest scores, as many as come closest to `compression`; ties by position."""
        order = np.argsort(-scores_S, kind="stable")
        removed = 1 - np.concatenate([[0.0], self.weight_S[order].cumsum()])
        kept_S = np.zeros(len(order), dtype=bool)
        kept_S[order[: np.abs(removed - compression).argmin()]] = True
        return kept_S

    def by_chosen_threshold(self, keep_S: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
        """Return a mask of sentences above the threshold with the best F2 on the other half, and both thresholds."""
        kept_S = np.zeros(len(keep_S), dtype=bool)
        chosen = []
        for half in (0, 1):
            own = self.half_S == half
            other = Sentences(*(values[~own] for values in (self.relevant_S, self.weight_S, self.text_S, self.half_S)))
            scores = [other.figures(keep_S[~own] > threshold)["f2"] if (~own).any() else 0.0 for threshold in GRID]
            chosen.append(GRID[int(np.argmax(scores))])
            kept_S[own] = keep_S[own] > chosen[-1]
        return kept_S, (chosen[0], chosen[1])


def bm25_scores(rows: Sequence[Example]) -> np.ndarray:
    """Return every sentence's BM25 score for its row's query, among all sentences of the task."""
    sentences = [d.text[start:end] for row in rows for d in row.documents for start, end in d.spans]
    index = Bm25()
    index.build(Corpus([str(number) for number in range(len(sentences))], sentences))
    scores: list[float] = []
    for row in rows:
        values = index.search({row.query_id: Text(row.query)}, len(sentences))[row.query_id]
        count = sum(len(document.spans) for document in row.documents)
        scores += [values.get(str(number), 0.0) for number in range(len(scores), len(scores) + count)]
    return np.array(scores)
