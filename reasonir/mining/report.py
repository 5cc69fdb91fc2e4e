"""Mining statistics: counted while mining runs, stored in the set's manifest, shown as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reasonir.errors import InputError
from reasonir.mining.base import Candidate
from reasonir.types import Example
from reasonir.utils.table import TEXT, Table

_EXAMPLES, _BINS, _SHOWN = 5, 10, 160
_INELIGIBLE = {
    "relevant": "known to be relevant",
    "excluded": "excluded by the data",
    "equals_query": "the query itself",
    "already_negative": "a negative already",
}
_BROKEN_RULES = {
    "min_words": "shorter than min_words",
    "max_score": "not below max_score",
    "absolute_margin": "within absolute_margin of the positive",
    "relative_margin": "not below relative_margin x positive",
}


@dataclass(slots=True)
class MiningTally:
    """Counts over the queries of a set."""

    candidates: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    given: Counter[int] = field(default_factory=Counter)
    ranks: Counter[int] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, example: Example, chosen: Sequence[Candidate]) -> None:
        """Count the negatives of a query."""
        self.given[len(chosen)] += 1
        self.ranks.update(candidate.rank for candidate in chosen)
        if chosen and len(self.examples) < _EXAMPLES:
            first = chosen[0]
            self.examples.append(
                {
                    "query": example.query[:_SHOWN],
                    "positive": example.positives[0].text[:_SHOWN],
                    "negative": first.document.text[:_SHOWN],
                    "rank": first.rank,
                    "score": first.score,
                }
            )

    def check_not_empty(self, range_min: int, range_max: int, documents: int) -> None:
        """Check that at least one query got a negative.

        Raises:
            InputError: none did; the message counts which rules removed the candidates.
        """
        if not self.ranks:
            removed = [f"{self.removed[rule]} {text}" for rule, text in _BROKEN_RULES.items() if self.removed[rule]]
            raise InputError(
                f"mining found no negative for any query: {self.candidates} candidates at ranks {range_min + 1} to "
                f"{range_max} of {documents} documents, removed: {' and '.join(removed) or 'none'}; skip fewer "
                "(mining.range_min) or loosen a rule"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the manifest."""
        ranks = np.repeat(list(self.ranks), list(self.ranks.values()))
        return {
            "queries": self.given.total(),
            "negatives": len(ranks),
            "without": self.given[0] / self.given.total(),
            "given": {str(count): queries for count, queries in sorted(self.given.items())},
            "candidates": self.candidates,
            "removed": dict(self.removed),
            "ranks": {"median": float(np.median(ranks)), "bins": _histogram(ranks)},
            "examples": self.examples,
        }


def _histogram(ranks: np.ndarray) -> dict[str, int]:
    edges = np.unique(np.linspace(ranks.min(), ranks.max() + 1, _BINS + 1).round().astype(int))
    counts = np.histogram(ranks, edges)[0].tolist()
    return {f"{low}-{high - 1}": count for low, high, count in zip(edges, edges[1:], counts, strict=False)}


def sentence(report: Mapping[str, Any]) -> str:
    """Return the report in one line."""
    negatives, mean = report["negatives"], report["negatives"] / report["queries"]
    return f"Mined {negatives} negatives, {mean:.2f} per query; {report['without']:.1%} of the queries got none"


def tables(report: Mapping[str, Any]) -> Iterator[Table]:
    """Yield tables of negatives per query, removed candidates, ranks of the negatives, and a few examples."""
    queries, negatives, candidates = report["queries"], report["negatives"], report["candidates"]

    given = [(count, number, number / queries) for count, number in report["given"].items()]
    yield Table("Negatives per query", {"negatives": TEXT, "queries": "{:d}", "share": "{:.1%}"}, given)

    removed = report["removed"]
    rows = [[f"skipped: {text}", removed[rule], None] for rule, text in _INELIGIBLE.items() if rule in removed]
    rows.append(["in the window", candidates, 1.0])
    rows += [
        [text, removed[rule], removed[rule] / candidates] for rule, text in _BROKEN_RULES.items() if rule in removed
    ]
    yield Table("Candidates and removals", {"reason": TEXT, "documents": "{:d}", "share": "{:.1%}"}, rows)

    ranks = [(span, count, count / negatives) for span, count in report["ranks"]["bins"].items()]
    ranks.append(("median", report["ranks"]["median"], None))
    yield Table("Ranks of the negatives", {"ranks": TEXT, "negatives": "{:.0f}", "share": "{:.1%}"}, ranks)

    columns = {"query": TEXT, "positive": TEXT, "negative": TEXT, "rank": "{:d}", "score": "{:.3f}"}
    yield Table("Examples", columns, [[row[key] for key in columns] for row in report["examples"]])
