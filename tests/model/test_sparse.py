"""Sparse representations as matrices, and their terms counted by hand."""

import torch

from reasonir.data.batch import Representation
from reasonir.model.sparse import Sparsity, rows_of


def sparse(*rows):
    """A representation of texts given as {term: weight}."""
    return Representation(
        torch.tensor([[weight] for row in rows for weight in row.values()]).reshape(-1, 1),
        torch.tensor([len(row) for row in rows]),
        torch.tensor([term for row in rows for term in row], dtype=torch.int32),
    )


FIRST, SECOND = sparse({0: 1.0, 3: 2.0}, {}), sparse({3: 0.5})


def test_rows_are_texts_and_columns_terms():
    joined = Representation.join([FIRST, SECOND])
    assert rows_of(joined, 5).toarray().tolist() == [[1.0, 0, 0, 2.0, 0], [0] * 5, [0, 0, 0, 0.5, 0]]
    assert rows_of(joined.take(torch.tensor([2, 1])), 5).toarray().tolist() == [[0, 0, 0, 0.5, 0], [0] * 5]


def test_terms_are_counted_over_blocks():
    sparsity = Sparsity(5)
    sparsity.add(FIRST)
    sparsity.add(SECOND)
    report = sparsity.report(sparse({3: 9.0, 4: 1.0}, {0: 1.0, 3: 1.0, 1: 1.0}))
    assert report["query_terms"] == 2.5
    assert report["document_terms"] == 1.0
    # terms that both have: 3 in 2 of 2 queries and 2 of 3 documents, 0 in 1 of 2 and 1 of 3
    assert abs(report["flops"] - (1.0 * 2 / 3 + 0.5 * 1 / 3)) < 1e-12
