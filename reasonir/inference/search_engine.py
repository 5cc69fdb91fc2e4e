"""In-memory document search, dense (`reasonir.inference.retriever`) or BM25.

A document is its content: one that is added again without an id keeps the id it has, and a given id stands for one
text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple, overload

from reasonir.errors import InputError
from reasonir.index.bm25 import Bm25
from reasonir.inference.arguments import Queries, Strings, check_range, many_ids, many_queries, many_strings
from reasonir.types import Corpus, Text
from reasonir.utils.ranges import Positive
from reasonir.utils.values import shorten


class Hit(NamedTuple):
    """Retrieved document."""

    id: str
    text: str
    score: float


@dataclass(slots=True)
class SearchEngine(ABC):
    """Searchable documents in memory.

    Attributes:
        documents: texts by id, in the order of addition.
    """

    documents: dict[str, str] = field(init=False, default_factory=dict, repr=False)
    _id_of: dict[str, str] = field(init=False, default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.documents)

    def add_documents(
        self, texts: Strings | Mapping[str, str], ids: str | int | Iterable[str | int] | None = None
    ) -> list[str]:
        """Add documents to the search; those that it has are not added again.

        Args:
            texts: one or many, or a mapping of ids to texts.
            ids: one per document. None takes the id of the same text, for a new text the next free number; in an empty
                search that is the position of its first copy in `texts`.

        Returns:
            The documents' ids.

        Raises:
            InputError: something other than texts and ids, or an id of another text; nothing is added.
        """
        if isinstance(texts, Mapping):
            if ids is not None:
                raise InputError("texts is a mapping, which has ids, and ids are given too: give one of them")
            texts, ids = list(texts.values()), list(texts)
        strings = many_strings(texts)
        doc_ids = self._numbered(strings) if ids is None else many_ids(ids, len(strings))
        new = self._new(doc_ids, strings)
        self._index(list(new.values()))
        self._remember(new)
        return doc_ids

    @overload
    def retrieve(self, query: str | Text, top_k: int = 10) -> list[Hit]: ...  # type: ignore[overload-overlap]
    @overload
    def retrieve(self, query: Iterable[str | Text], top_k: int = 10) -> list[list[Hit]]: ...
    def retrieve(self, query: Queries, top_k: int = 10) -> list[Hit] | list[list[Hit]]:
        """Return the best documents of a query, best first; of several queries as `search` does."""
        rankings = self.search(query, top_k)
        return rankings[0] if isinstance(query, str | Text) else rankings

    def search(self, queries: Queries, top_k: int = 10) -> list[list[Hit]]:
        """Return the best documents of each query, best first; none before any were added.

        Raises:
            InputError: a query that isn't a text, or `top_k` that isn't a whole number of 1 or more.
        """
        check_range("top_k", top_k, Positive)
        texts = many_queries(queries)
        if not texts or not self.documents:
            return [[] for _ in texts]
        return [
            [Hit(doc_id, self.documents[doc_id], score) for doc_id, score in ranking.items()]
            for ranking in self._search(texts, min(int(top_k), len(self)))
        ]

    def _numbered(self, texts: Sequence[str]) -> list[str]:
        """Return the id of each text: the one it has, else a free number, which counts copies too."""
        free = (doc_id for doc_id in map(str, count(len(self))) if doc_id not in self.documents)
        numbers: dict[str, str] = {}
        for text, number in zip(texts, free, strict=False):
            numbers.setdefault(text, number)
        return [self._id_of.get(text) or numbers[text] for text in texts]

    def _new(self, ids: Sequence[str], texts: Sequence[str]) -> dict[str, str]:
        """Return the documents that the search lacks, by id; refuse an id of another text."""
        new: dict[str, str] = {}
        for doc_id, text in zip(ids, texts, strict=True):
            known = self.documents.get(doc_id) or new.setdefault(doc_id, text)
            if known != text:
                raise InputError(f"duplicate id {doc_id!r} of {shorten(known)} and {shorten(text)}: ids must be unique")
        return new

    def _remember(self, documents: Mapping[str, str]) -> None:
        self.documents.update(documents)
        for doc_id, text in documents.items():
            self._id_of.setdefault(text, doc_id)

    @abstractmethod
    def _index(self, texts: Sequence[str]) -> None:
        """Add texts to the index, after those of `documents`."""

    @abstractmethod
    def _search(self, queries: Sequence[Text], top_k: int) -> list[dict[str, float]]:
        """Return the scores of each query's best documents by id, best first."""


@dataclass(slots=True)
class Bm25Search(SearchEngine):
    """Search engine with BM25.

    Attributes:
        bm25: the index with its settings.
    """

    bm25: Bm25 = field(default_factory=Bm25)
    _indexed: int = field(init=False, default=0)

    def _index(self, texts: Sequence[str]) -> None:
        """Do nothing: `_search` builds the index over all documents."""

    def _search(self, queries: Sequence[Text], top_k: int) -> list[dict[str, float]]:
        if self._indexed != len(self):
            self.bm25.build(Corpus(list(self.documents), list(self.documents.values())))
            self._indexed = len(self)
        names = [str(number) for number in range(len(queries))]
        run = self.bm25.search(dict(zip(names, queries, strict=True)), top_k)
        return [run[name] for name in names]
