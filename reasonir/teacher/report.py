"""What a teacher makes of the data's labels: counted while it scores, kept in the manifest of the set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class TeacherTally:
    """Sums over a scoring; `contrasted` counts the queries that have negatives, `above` those that it turns round."""

    positives: int = 0
    negatives: int = 0
    positive_sum: float = 0.0
    negative_sum: float = 0.0
    contrasted: int = 0
    above: int = 0

    def add(self, positives: Sequence[float], negatives: Sequence[float]) -> None:
        """Count the scores of a query's documents."""
        self.positives += len(positives)
        self.negatives += len(negatives)
        self.positive_sum += sum(positives)
        self.negative_sum += sum(negatives)
        self.contrasted += bool(negatives and positives)
        self.above += bool(negatives and positives) and max(negatives) > max(positives)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest; None where there are no negatives."""
        return {
            "mean_positive": self.positive_sum / self.positives if self.positives else None,
            "mean_negative": self.negative_sum / self.negatives if self.negatives else None,
            "queries_with_negatives": self.contrasted,
            "negative_above_positives": self.above / self.contrasted if self.contrasted else None,
        }


def sentence(found: Mapping[str, Any]) -> str:
    """The report in a line."""
    if found["mean_positive"] is None:
        return f"Teacher {found['name']} scored no positives"
    begin = f"Teacher {found['name']} gives positives {found['mean_positive']:.3f} on average"
    if not found["queries_with_negatives"]:
        return f"{begin}; there are no negatives"
    return (
        f"{begin}, negatives {found['mean_negative']:.3f}; of the queries with negatives "
        f"{found['negative_above_positives']:.1%} have one that scores higher than every positive"
    )
