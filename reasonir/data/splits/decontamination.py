"""Decontamination from BRIGHT: its gold documents, its excluded documents, and near-duplicates of its queries.

Near-duplicates are detected by shared word 8-grams.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reasonir.data.base import copy_key
from reasonir.data.files import bright

Level = Literal["none", "gold", "excluded", "queries"]
LEVELS: tuple[Level, ...] = ("none", "gold", "excluded", "queries")
"""Each level drops more than the one before."""
_N = 8
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """Index of texts by their word 8-grams.

    Attributes:
        owners: numbers of the texts that contain an n-gram, by its hash.
        sizes: number of n-grams of each text.
        share: share of the shorter text's n-grams that makes a match.
    """

    owners: Mapping[int, Sequence[int]]
    sizes: Sequence[int]
    share: float

    @classmethod
    def of(cls, texts: Iterable[str], *, share: float) -> Overlap:
        """Index `texts`."""
        owners: dict[int, list[int]] = {}
        sizes = []
        for number, text in enumerate(texts):
            grams = _grams(text)
            sizes.append(len(grams))
            for gram in grams:
                owners.setdefault(gram, []).append(number)
        return cls(owners, sizes, share)

    def matches(self, text: str) -> bool:
        """Return whether `text` overlaps enough with any text; texts shorter than an n-gram must be equal."""
        grams = _grams(text)
        shared = Counter(number for gram in grams for number in self.owners.get(gram, ()))
        return any(count >= self.share * min(len(grams), self.sizes[number]) for number, count in shared.items())


@dataclass(frozen=True, slots=True)
class Decontamination:
    """Parts of BRIGHT that a training set must not contain."""

    gold: frozenset[str] = frozenset()
    gold_keys: frozenset[int] = frozenset()
    excluded: frozenset[str] = frozenset()
    queries: Overlap | None = None

    @classmethod
    def read(cls, folder: Path, level: str, overlap: float) -> Decontamination:
        """Read gold ids, excluded ids and queries of all splits, as the level requires."""
        if level == "none":
            return cls()
        gold, excluded, queries = set(), set(), []
        for split in bright.SPLITS:
            for record in bright.read_queries(folder, split):
                gold.update(record.values["gold_ids"])
                excluded.update(record.values["excluded_ids"])
                queries.append(record.values["query"])
        rank = LEVELS.index(level)
        return cls(
            frozenset(gold),
            frozenset(),
            frozenset(excluded) if rank >= LEVELS.index("excluded") else frozenset(),
            Overlap.of(queries, share=overlap) if rank >= LEVELS.index("queries") else None,
        )

    def contains(self, doc_id: str, text: str) -> bool:
        """Return whether a document is one of BRIGHT's gold documents, a copy of one, or excluded from a query."""
        bare = doc_id.split(":", 1)[-1]
        return bare in self.gold or bare in self.excluded or copy_key(text) in self.gold_keys

    def resembles(self, query: str) -> bool:
        """Return whether a query is a near-duplicate of one of BRIGHT's."""
        return self.queries is not None and self.queries.matches(query)


def _grams(text: str) -> set[int]:
    words = _WORD.findall(text.lower())
    if not words:
        return set()
    return {hash(tuple(words[start : start + _N])) for start in range(max(1, len(words) - _N + 1))}
