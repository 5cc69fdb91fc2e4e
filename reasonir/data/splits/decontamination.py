"""What of BRIGHT a training set keeps away from: its answers, the documents it hides from a query, its queries.

Near-duplicates of queries are found by shared word 8-grams.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reasonir.data.base import content_key
from reasonir.data.files import bright

Level = Literal["none", "gold", "excluded", "queries"]
LEVELS: tuple[Level, ...] = ("none", "gold", "excluded", "queries")
"""Each leaves out what the one before does, and more."""
_N = 8
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """Texts by their word 8-grams.

    Attributes:
        owners: which texts hold an n-gram, by its hash.
        sizes: n-grams of each text.
        share: of the shorter text's n-grams that have to be shared.
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

    def found(self, text: str) -> bool:
        """Whether one of the texts shares enough with `text`; a text shorter than an n-gram has to be equal."""
        grams = _grams(text)
        shared = Counter(number for gram in grams for number in self.owners.get(gram, ()))
        return any(count >= self.share * min(len(grams), self.sizes[number]) for number, count in shared.items())


@dataclass(frozen=True, slots=True)
class Decontamination:
    """What of BRIGHT a training set is to keep away from."""

    gold: frozenset[str] = frozenset()
    gold_keys: frozenset[int] = frozenset()
    excluded: frozenset[str] = frozenset()
    queries: Overlap | None = None

    @classmethod
    def read(cls, folder: Path, level: str, overlap: float) -> Decontamination:
        """The gold, excluded ids and queries of all splits, as far as the level goes."""
        if level == "none":
            return cls()
        gold, excluded, queries = set(), set(), []
        for split in bright.SPLITS:
            for record in bright.read_queries(folder, split):
                gold.update(record.values["gold_ids"])
                excluded.update(record.values["excluded_ids"])
                queries.append(record.values["query"])
        far = LEVELS.index(level)
        return cls(
            frozenset(gold),
            frozenset(),
            frozenset(excluded) if far >= LEVELS.index("excluded") else frozenset(),
            Overlap.of(queries, share=overlap) if far >= LEVELS.index("queries") else None,
        )

    def judges(self, doc_id: str, text: str) -> bool:
        """Whether a document is one of BRIGHT's answers, a copy of one, or among those that are kept from a query."""
        bare = doc_id.split(":", 1)[-1]
        return bare in self.gold or bare in self.excluded or content_key(text) in self.gold_keys

    def resembles(self, query: str) -> bool:
        """Whether a query is nearly one of BRIGHT's."""
        return self.queries is not None and self.queries.found(query)


def _grams(text: str) -> set[int]:
    words = _WORD.findall(text.lower())
    if not words:
        return set()
    return {hash(tuple(words[start : start + _N])) for start in range(max(1, len(words) - _N + 1))}
