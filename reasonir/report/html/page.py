"""What a report's page is made of: plain values that the template lays out, nothing computed any more.

All text in them is untrusted but `Figure.svg`, which this package draws itself. What a run lacks is empty or None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from reasonir.utils.table import Table

LEVELS = 5
"""Shades of a passage's marked pieces."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture, drawn here (`svg`) or kept by a benchmark (`png`, in base64), with what it shows."""

    title: str
    svg: Markup | None = None
    png: str = ""


@dataclass(frozen=True, slots=True)
class ShownPiece:
    """A stretch of a passage: shaded from 1 to LEVELS (0: not), struck through or not; `hint` says why."""

    text: str
    level: int = 0
    struck: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """A query token, the document token that it matches best, and how well."""

    query: str
    document: str
    similarity: float


@dataclass(frozen=True, slots=True)
class ShownPassage:
    """The part of a document that is shown; `before` and `after` count the characters that are not."""

    pieces: Sequence[ShownPiece]
    before: int = 0
    after: int = 0
    matches: Sequence[Match] = ()


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A document of a ranking, or (rank and score None) one that should have been in it; no passage without texts."""

    doc_id: str
    relevant: bool
    rank: int | None
    score: float | None
    passage: ShownPassage | None


@dataclass(frozen=True, slots=True)
class Query:
    """A query: its metric, in the system it is compared with too, the first documents and the relevant ones missed.

    Attributes:
        task: it belongs to this one.
        query_id: its id there.
        text: it, cut where it is long.
        instruction: what the model was told with it.
        value: the metric.
        before: the metric of the system that it is compared with, where there is one.
        first: the first documents of its ranking.
        missed: relevant documents further down or not ranked at all, the best ranked first.
        more: how many further ones there are.
        ranked: the length of its ranking.
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
    """The queries that are shown, how their passages are to be read, and what became of all of them.

    Attributes:
        metric: what queries are chosen by.
        worst: the queries with the least of it.
        improved: those that gained most over `against`; None where nothing is compared.
        against: a system's name.
        changes: how many queries are better, worse, the same.
        reading: "matches", "sentences" or "plain": what marks in passages mean.
    """

    metric: str
    worst: Sequence[Query]
    improved: Sequence[Query] | None
    against: str
    changes: tuple[int, int, int]
    reading: str


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on the page, in its order."""

    title: str
    about: Sequence[str]
    headline: str
    results: Sequence[Table]
    examples: Examples
    splits: Figure | None = None
    standing: Figure | None = None
    curves: Figure | None = None
    lengths: Sequence[Table] = ()
    analyses: Sequence[Figure] = ()
    speed: Table | None = None
    memory: Sequence[Table] = ()
    notes: Sequence[tuple[str, int]] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    environment: Table | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
