"""What an index is: it takes a corpus and ranks it for queries, without the documents a query excludes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np

from reasonir.errors import InputError
from reasonir.types import Corpus, Run, Text


class Index(Protocol):
    """Ranks a corpus."""

    neural: ClassVar[bool]
    """Whether it searches with a model's representations (and is built with an encoder) or with words."""
    single_vector: ClassVar[bool]
    """Whether it holds one vector a text only."""

    def build(self, corpus: Corpus) -> None:
        """Take the corpus in; replaces an earlier one."""

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """The best `k` documents of each query, excluded ones removed before the cut."""


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
