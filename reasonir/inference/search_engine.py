"""In-memory document search, dense (`reasonir.inference.retriever`) or BM25."""

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

    documents: dict[str, str] = field(init=False, default_factory=dict)

    def __len__(self) -> int:
        return len(self.documents)

    def add_documents(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> list[str]:
        """Add documents to the search.

        Args:
            texts: of the documents.
            ids: one per document; None takes the next free numbers.

        Returns:
            The documents' ids.

        Raises:
            InputError: an empty text, ids of another number than texts, or a duplicate id.
        """
        if isinstance(texts, str):
            raise InputError("texts is one string: give a list of texts")
        for index, text in enumerate(texts):
            if not text.strip():
                raise InputError(f"text {index} is empty: remove it")
        free = (doc_id for doc_id in map(str, count(len(self))) if doc_id not in self.documents)
        doc_ids = [next(free) for _ in texts] if ids is None else list(ids)
        self._check(doc_ids, len(texts))
        self._index(texts)
        self.documents.update(zip(doc_ids, texts, strict=True))
        return doc_ids

    def retrieve(self, query: str | Text, top_k: int = 10) -> list[Hit]:
        """Return the best documents of a query, best first."""
        return self.search([query], top_k)[0]

    def search(self, queries: Sequence[str | Text], top_k: int = 10) -> list[list[Hit]]:
        """Return the best documents of each query, best first.

        Raises:
            InputError: `top_k` below 1.
        """
        if top_k < 1:
            raise InputError(f"top_k={top_k}: give 1 or more")
        if not queries or not self.documents:
            return [[] for _ in queries]
        return [
            [Hit(doc_id, self.documents[doc_id], score) for doc_id, score in ranking.items()]
            for ranking in self._search([as_text(query) for query in queries], top_k)
        ]

    def _check(self, ids: Sequence[str], texts: int) -> None:
        if len(ids) != texts:
            raise InputError(f"{len(ids)} ids for {texts} texts: give one id per text, or none")
        seen: set[str] = set()
        for doc_id in ids:
            if not isinstance(doc_id, str) or not doc_id.strip():
                raise InputError(f"id {doc_id!r} is no text: give every document a string")
            if doc_id in self.documents or doc_id in seen:
                raise InputError(f"duplicate id {doc_id!r}: ids must be unique")
            seen.add(doc_id)

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
