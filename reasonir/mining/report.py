"""What mining found: counted while it runs, kept in the manifest of the set, shown as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from reasonir.errors import InputError
from reasonir.mining.base import Candidate
from reasonir.types import Example

if TYPE_CHECKING:
    from rich.table import Table

_EXAMPLES, _BINS, _SHOWN = 5, 10, 160
_KNOWN = {
    "relevant": "known to be relevant",
    "excluded": "excluded by the data",
    "equals_query": "the query itself",
    "already_negative": "a negative already",
}
_BROKEN = {
    "min_words": "shorter than min_words",
    "max_score": "not below max_score",
    "absolute_margin": "within absolute_margin of the positive",
    "relative_margin": "not below relative_margin x positive",
}


@dataclass(slots=True)
class MiningTally:
    """Counts of a mining."""

    candidates: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    given: Counter[int] = field(default_factory=Counter)
    ranks: Counter[int] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, example: Example, chosen: Sequence[Candidate]) -> None:
        """Count what a query was given."""
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

    def refuse_nothing(self, range_min: int, range_max: int, documents: int) -> None:
        """Refuse a mining that found no negative for any query.

        Raises:
            InputError: saying what stood in the way.
        """
        if not self.ranks:
            removed = [f"{self.removed[rule]} {why}" for rule, why in _BROKEN.items() if self.removed[rule]]
            raise InputError(
                f"mining found no negative for any query: {self.candidates} candidates at ranks {range_min + 1} to "
                f"{range_max} of {documents} documents, removed: {' and '.join(removed) or 'none'}; skip fewer "
                "(mining.range_min) or loosen a rule"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
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


def sentence(found: Mapping[str, Any]) -> str:
    """The report in a line."""
    mean = found["negatives"] / found["queries"]
    return f"Mined {found['negatives']} negatives, {mean:.2f} a query; {found['without']:.1%} of the queries got none"


def tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """The report: what queries got, what was not taken, at which ranks, and a few examples."""
    from rich.markup import escape

    def share(count: int, total: int) -> tuple[str, str]:
        return str(count), f"{count / total:.1%}"

    given = [(count, *share(number, found["queries"])) for count, number in found["given"].items()]
    yield _table("What queries got", ("negatives", "queries", "share"), given)

    removed, looked_at = found["removed"], found["candidates"]
    lines = [(f"passed over: {why}", str(removed[rule]), "") for rule, why in _KNOWN.items() if rule in removed]
    lines.append(("in the window", *share(looked_at, looked_at)))
    lines += [(why, *share(removed[rule], looked_at)) for rule, why in _BROKEN.items() if rule in removed]
    yield _table("Candidates, and which were removed", ("why", "documents", "share"), lines)

    ranks = [(span, *share(count, found["negatives"])) for span, count in found["ranks"]["bins"].items()]
    ranks.append(("median", f"{found['ranks']['median']:.0f}", ""))
    yield _table("Ranks of what was taken", ("ranks", "negatives", "share"), ranks)

    texts = ("query", "positive", "negative")
    examples = [
        (*(escape(row[key]) for key in texts), str(row["rank"]), f"{row['score']:.3f}") for row in found["examples"]
    ]
    table = _table("Examples", (*texts, "rank", "score"), examples)
    table.show_lines = True
    for column in table.columns[: len(texts)]:
        column.justify, column.no_wrap = "left", False
    yield table


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
