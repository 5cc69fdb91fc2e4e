"""What an index is: it takes a corpus and ranks it for queries, without the documents a query excludes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np

from reasonir.errors import InputError
from reasonir.model.head.base import RetrieverHead
from reasonir.types import Corpus, Run, Text


class Index(Protocol):
    """Ranks a corpus."""

    name: ClassVar[str]
    """The option of the group `index`, for messages and the protocol of results."""
    neural: ClassVar[bool]
    """Whether it searches with a model's representations (and is built with an encoder) or with words."""
    single_vector: ClassVar[bool | None]
    """Whether it holds one vector a text only (true), many only (false), or whatever there is (null)."""
    measured: Mapping[str, float]
    """What the last search found out where it approximates: `recall_at_10` against exact search of all vectors, and the
    `vectors` held, of the `encoded_vectors` that the model gave."""

    def build(self, corpus: Corpus) -> None:
        """Take the corpus in; replaces an earlier one."""

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """The best `k` documents of each query, excluded ones removed before the cut."""


def misfit(index: type[Index], head: type[RetrieverHead], factor: float = 1.0) -> str | None:
    """Why an index can't hold a head's vectors, or there is nothing to pool by `factor`; None where all is well."""
    one = head.single_vector
    if index.single_vector not in {None, one}:
        holds, gives, other = ("one", "more", "plaid") if index.single_vector else ("many", "one", "faiss")
        plural = "vector" if holds == "one" else "vectors"
        return (
            f"index={index.name} holds {holds} {plural} a text, {head.__name__} gives {gives}: "
            f"choose index=exact or index={other}"
        )
    if one and factor > 1:
        return (
            f"index.pooling.pool_factor={factor}: {head.__name__} gives one vector a text, none to pool: leave it at 1"
        )
    return None


def excluded_places(
    queries: Sequence[str], corpus: Corpus, exclude: Mapping[str, frozenset[str]] | None
) -> list[np.ndarray]:
    """For each query the sorted corpus positions it excludes.

    Raises:
        InputError: an excluded document isn't in the corpus.
    """
    wanted = {query_id: exclude[query_id] for query_id in queries if exclude and exclude.get(query_id)}
    if not wanted:
        return [np.empty(0, dtype=np.int64)] * len(queries)
    place = {doc_id: number for number, doc_id in enumerate(corpus.ids)}
    for query_id, doc_ids in wanted.items():
        if unknown := sorted(doc_ids - place.keys()):
            raise InputError(f"query {query_id!r} excludes {unknown[0]!r}, which isn't in the corpus: mend the task")
    return [
        np.array(sorted(place[doc_id] for doc_id in wanted.get(query_id, ())), dtype=np.int64) for query_id in queries
    ]
