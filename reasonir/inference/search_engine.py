"""What finds documents that were added to it: with a model (`reasonir.inference.retriever`), or by their words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from reasonir.errors import InputError
from reasonir.index.bm25 import Bm25
from reasonir.types import Corpus, Text, as_text


class Hit(NamedTuple):
    """A document that was found."""

    id: str
    text: str
    score: float


@dataclass(slots=True)
class SearchEngine(ABC):
    """Documents in memory that can be searched.

    Attributes:
        documents: their texts by their ids, in the order in which they were added.
    """

    documents: dict[str, str] = field(init=False, default_factory=dict)

    def __len__(self) -> int:
        return len(self.documents)

    def add_documents(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> list[str]:
        """Take in documents and search them from now on.

        Args:
            texts: theirs.
            ids: one a document; None numbers them on, passing over ids that are taken.

        Returns:
            Their ids.

        Raises:
            InputError: an empty text, ids of another number than texts, or one that is there already.
        """
        if isinstance(texts, str):
            raise InputError("texts is one string: give a list of texts")
        for place, text in enumerate(texts):
            if not text.strip():
                raise InputError(f"text {place} is empty: leave it out")
        free = (name for name in map(str, count(len(self))) if name not in self.documents)
        given = [next(free) for _ in texts] if ids is None else list(ids)
        self._check(given, len(texts))
        self._index(texts)
        self.documents.update(zip(given, texts, strict=True))
        return given

    def retrieve(self, query: str | Text, top_k: int = 10) -> list[Hit]:
        """The best documents of a query, best first."""
        return self.search([query], top_k)[0]

    def search(self, queries: Sequence[str | Text], top_k: int = 10) -> list[list[Hit]]:
        """The best documents of each query, best first.

        Raises:
            InputError: `top_k` below 1.
        """
        if top_k < 1:
            raise InputError(f"top_k={top_k}: give 1 or more")
        if not queries or not self.documents:
            return [[] for _ in queries]
        return [
            [Hit(each, self.documents[each], score) for each, score in found.items()]
            for found in self._search([as_text(query) for query in queries], top_k)
        ]

    def _check(self, ids: Sequence[str], texts: int) -> None:
        if len(ids) != texts:
            raise InputError(f"{len(ids)} ids for {texts} texts: give each text one, or none")
        seen: set[str] = set()
        for each in ids:
            if not isinstance(each, str) or not each.strip():
                raise InputError(f"id {each!r} isn't a text: give every document a string")
            if each in self.documents or each in seen:
                raise InputError(f"id {each!r} is there already: give every document its own")
            seen.add(each)

    @abstractmethod
    def _index(self, texts: Sequence[str]) -> None:
        """Make texts searchable that follow those which are."""

    @abstractmethod
    def _search(self, queries: Sequence[Text], top_k: int) -> list[dict[str, float]]:
        """The ranking of each query."""


@dataclass(slots=True)
class Bm25Search(SearchEngine):
    """Documents found by BM25.

    Attributes:
        bm25: its settings.
    """

    bm25: Bm25 = field(default_factory=Bm25)
    _counted: int = field(init=False, default=0)

    def _index(self, texts: Sequence[str]) -> None:
        """Nothing: words are counted when somebody asks, over all documents at once."""

    def _search(self, queries: Sequence[Text], top_k: int) -> list[dict[str, float]]:
        if self._counted != len(self):
            self.bm25.build(Corpus(list(self.documents), list(self.documents.values())))
            self._counted = len(self)
        names = [str(number) for number in range(len(queries))]
        run = self.bm25.search(dict(zip(names, queries, strict=True)), top_k)
        return [run[name] for name in names]
