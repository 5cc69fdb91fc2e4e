"""Sparse representations as matrices of SciPy: one row per text, one column per term of the vocabulary.

Shape letters: N texts, Q queries, V terms of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from reasonir.data.batch import Representation


def rows_of(texts: Representation, size: int) -> Any:
    """Return weights_NV of sparse vectors of `size` terms, as a `scipy.sparse.csr_array` in float32."""
    assert texts.terms_T is not None
    starts = np.concatenate([[0], texts.lengths_N.cumsum(0).numpy()])
    weights_T = texts.values_TD[:, 0].float().cpu().numpy()
    return csr_array((weights_T, texts.terms_T.cpu().numpy(), starts), shape=(len(texts), size))


@dataclass(slots=True)
class Sparsity:
    """Counts the terms of documents, block by block.

    Attributes:
        size: terms of the vocabulary.
    """

    size: int
    _documents: int = field(init=False, default=0)
    _counts_V: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._counts_V = np.zeros(self.size, dtype=np.int64)

    @classmethod
    def of(cls, head: Any) -> Sparsity | None:
        """Return a count for a `RetrieverHead`; None if its vectors aren't sparse."""
        return cls(head.size) if head.sparse else None

    def add(self, documents: Representation) -> None:
        """Count the terms of a block of documents."""
        self._documents += len(documents)
        self._counts_V += _counts(documents, self.size)

    def report(self, queries: Representation) -> dict[str, float]:
        """Return the mean terms of a query and of a document, and `flops`, the mean terms that a pair shares.

        A pair's shared terms are its multiplications in an inverted index (Paria et al. 2020, arXiv:2004.05665).
        """
        share_V = self._counts_V / max(1, self._documents)
        query_V = _counts(queries, self.size) / max(1, len(queries))
        return {
            "query_terms": float(query_V.sum()),
            "document_terms": float(share_V.sum()),
            "flops": float(query_V @ share_V),
        }


def _counts(texts: Representation, size: int) -> np.ndarray:
    """Return how many texts have each term."""
    assert texts.terms_T is not None
    return np.bincount(texts.terms_T.cpu().numpy(), minlength=size)
