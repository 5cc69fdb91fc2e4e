"""Interface of indexes: build from a corpus, rank it for queries without the documents that a query excludes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np

from reasonir.errors import InputError
from reasonir.model.head.base import RetrieverHead
from reasonir.types import Corpus, Run, Text


class Index(Protocol):
    """Ranks the documents of a corpus."""

    name: ClassVar[str]
    """Option of the group `index`, for messages and the protocol of results."""
    neural: ClassVar[bool]
    """True if it searches with a model's embeddings (and is built with an encoder) or with words."""
    single_vector: ClassVar[bool | None]
    """True if it holds one vector per text only (true), many only (false), or either (null)."""
    measured: Mapping[str, float]
    """Metrics of the last approximate search: `recall_at_10` against exact search of all vectors, and the number of
    `vectors` held, of the model's `encoded_vectors`.
    """

    def build(self, corpus: Corpus) -> None:
        """Index a corpus, replacing an earlier one."""

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """Return the `k` best documents of each query; excluded documents are removed before the cutoff."""


def incompatibility(index: type[Index], head: type[RetrieverHead], factor: float = 1.0) -> str | None:
    """Return the reason why an index can't hold a head's vectors or pool them by `factor`; None if it can."""
    one = head.single_vector
    if index.single_vector not in {None, one}:
        holds, gives, other = ("one vector", "many", "plaid") if not one else ("many vectors", "one", "faiss")
        return (
            f"index={index.name} holds {holds} per text, but {head.__name__} gives {gives}: "
            f"choose index=exact or index={other}"
        )
    if one and factor > 1:
        return f"index.pooling.pool_factor={factor}: {head.__name__} gives one vector per text: set it to 1"
    return None


def excluded_positions(
    queries: Sequence[str], corpus: Corpus, exclude: Mapping[str, frozenset[str]] | None
) -> list[np.ndarray]:
    """Return for each query the sorted corpus positions that it excludes.

    Raises:
        InputError: an excluded document isn't in the corpus.
    """
    excluded = {query_id: exclude[query_id] for query_id in queries if exclude and exclude.get(query_id)}
    if not excluded:
        return [np.empty(0, dtype=np.int64)] * len(queries)
    position = {doc_id: number for number, doc_id in enumerate(corpus.ids)}
    for query_id, doc_ids in excluded.items():
        if unknown := sorted(doc_ids - position.keys()):
            raise InputError(f"query {query_id!r} excludes {unknown[0]!r}, which isn't in the corpus: fix the task")
    return [
        np.array(sorted(position[doc_id] for doc_id in excluded.get(query_id, ())), dtype=np.int64)
        for query_id in queries
    ]
