"""Teacher scores compared with the labels: counted during scoring, stored in the set's manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class TeacherTally:
    """Sums over the scored queries.

    `comparable` counts queries with positives and negatives, `inverted` those whose best negative outscores every
    positive.
    """

    positives: int = 0
    negatives: int = 0
    positive_sum: float = 0.0
    negative_sum: float = 0.0
    comparable: int = 0
    inverted: int = 0

    def add(self, positives: Sequence[float], negatives: Sequence[float]) -> None:
        """Count the scores of a query's documents."""
        self.positives += len(positives)
        self.negatives += len(negatives)
        self.positive_sum += sum(positives)
        self.negative_sum += sum(negatives)
        self.comparable += bool(negatives and positives)
        self.inverted += bool(negatives and positives) and max(negatives) > max(positives)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the manifest; None for a mean or share of nothing."""
        return {
            "mean_positive": self.positive_sum / self.positives if self.positives else None,
            "mean_negative": self.negative_sum / self.negatives if self.negatives else None,
            "queries_with_negatives": self.comparable,
            "negative_above_positives": self.inverted / self.comparable if self.comparable else None,
        }


def sentence(report: Mapping[str, Any]) -> str:
    """Return the report in one line."""
    if report["mean_positive"] is None:
        return f"Teacher {report['name']} scored no positives"
    positives = f"Teacher {report['name']}: mean score {report['mean_positive']:.3f} of positives"
    if not report["queries_with_negatives"]:
        return f"{positives}; there are no negatives"
    return (
        f"{positives}, {report['mean_negative']:.3f} of negatives; in {report['negative_above_positives']:.1%} of the "
        "queries with negatives, a negative outscores every positive"
    )
