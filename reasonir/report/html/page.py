"""Content of a report's page as plain values for the template.

All text is untrusted, except `Figure.svg`, which this package draws itself. Absent parts are empty or None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from reasonir.utils.table import Table

LEVELS = 5
"""Shades of marked tokens in a passage."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Figure, drawn for the page (`svg`) or written by a benchmark (`png`, in base64), with its caption."""

    title: str
    svg: Markup | None = None
    png: str = ""


@dataclass(frozen=True, slots=True)
class ShownPiece:
    """Part of a passage: shaded from 1 to LEVELS (0: not), struck through or not; `hint` is the tooltip."""

    text: str
    level: int = 0
    struck: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Query token, the document token with the highest similarity, and that similarity."""

    query: str
    document: str
    similarity: float


@dataclass(frozen=True, slots=True)
class ShownPassage:
    """Excerpt of a document; `before` and `after` count the omitted characters."""

    pieces: Sequence[ShownPiece]
    before: int = 0
    after: int = 0
    matches: Sequence[Match] = ()


@dataclass(frozen=True, slots=True)
class RankedHit:
    """Document of a ranking, or relevant one missing from it (rank and score None); no passage without texts."""

    doc_id: str
    relevant: bool
    rank: int | None
    score: float | None
    passage: ShownPassage | None


@dataclass(frozen=True, slots=True)
class Query:
    """Query with its metric, its top documents and the relevant ones missed.

    Attributes:
        task: name of the task.
        query_id: id in the task.
        text: text, cut if long.
        instruction: instruction given to the model.
        value: the metric.
        before: the metric of the system compared with; None without one.
        first: top documents of the ranking.
        missed: relevant documents ranked lower or not at all, the best ranked first.
        more: number of further missed ones.
        ranked: length of the ranking.
    """

    task: str
    query_id: str
    text: str
    instruction: str
    value: float
    before: float | None
    first: Sequence[RankedHit]
    missed: Sequence[RankedHit]
    more: int
    ranked: int


@dataclass(frozen=True, slots=True)
class Examples:
    """Selected queries, the meaning of marks in their passages, and counts of changes over all queries.

    Attributes:
        metric: metric that queries are selected by.
        worst: the queries with the lowest values.
        improved: the queries with the largest gains over `against`; None without a comparison.
        against: name of the system compared with.
        changes: number of queries that are better, worse, equal.
        reading: meaning of marks in passages: "matches", "sentences" or "plain".
    """

    metric: str
    worst: Sequence[Query]
    improved: Sequence[Query] | None
    against: str
    changes: tuple[int, int, int]
    reading: str


@dataclass(frozen=True, slots=True)
class Page:
    """Content of the page, in its order."""

    title: str
    about: Sequence[str]
    headline: str
    results: Sequence[Table]
    examples: Examples
    splits: Figure | None = None
    standings: Sequence[Figure] = ()
    curves: Figure | None = None
    lengths: Sequence[Table] = ()
    analyses: Sequence[Figure] = ()
    speed: Table | None = None
    memory: Sequence[Table] = ()
    warnings: Sequence[tuple[str, int]] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    environment: Table | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
