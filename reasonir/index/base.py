"""Interface of indexes: build from a corpus, rank it for queries without the documents that a query excludes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import ClassVar, Literal, Protocol

import numpy as np

from reasonir.errors import InputError
from reasonir.model.head.base import RetrieverHead
from reasonir.types import Corpus, Run, Text

Form = Literal["one", "many", "sparse"]
"""What a text is held as: one vector, many, or one sparse vector, the weights of its terms."""
_FORMS: Mapping[Form, tuple[str, str, str]] = {
    "one": ("one vector", "one", "faiss"),
    "many": ("many vectors", "many", "plaid"),
    "sparse": ("sparse weights", "sparse weights", "inverted"),
}
"""Each form as an index holds it and as a head gives it, and an index that holds it."""


class Index(Protocol):
    """Ranks the documents of a corpus."""

    name: ClassVar[str]
    """Option of the group `index`, for messages and the protocol of results."""
    neural: ClassVar[bool]
    """True if it searches with a model's embeddings (and is built with an encoder) or with words."""
    form: ClassVar[Form | None]
    """What it holds per text; None if any."""
    measured: Mapping[str, float]
    """Metrics of the last search. Of an approximate one: `recall_at_10` against exact search of all vectors, and the
    number of `vectors` held, of the model's `encoded_vectors`. With a sparse head: see `Sparsity.report`.
    """

    def build(self, corpus: Corpus) -> None:
        """Index a corpus, replacing an earlier one."""

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """Return the `k` best documents of each query; excluded documents are removed before the cutoff."""


def incompatibility(index: type[Index], head: type[RetrieverHead], factor: float = 1.0) -> str | None:
    """Return the reason why an index can't hold a head's vectors or pool them by `factor`; None if it can."""
    form: Form = "sparse" if head.sparse else "one" if head.single_vector else "many"
    held, gives, other = _FORMS[form]
    if index.form not in {None, form}:
        return (
            f"index={index.name} holds {_FORMS[index.form][0]} per text, but {head.__name__} gives {gives}: "
            f"choose index=exact or index={other}"
        )
    package = getattr(index, "package", None)  # that not every environment has
    if package and not find_spec(package):
        return (
            f"index={index.name} needs {package}, which isn't installed here: pip install {package.replace('_', '-')} "
            "(it holds torch at its own release), or choose index=exact"
        )
    if form != "many" and factor > 1:
        return f"index.pooling.pool_factor={factor}: {head.__name__} gives {held} per text: set it to 1"
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
