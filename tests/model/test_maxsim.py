import subprocess
import sys

import pytest
import torch

from reasonir.data.batch import Representation
from reasonir.model import maxsim as module
from reasonir.model.maxsim import maxsim


def packed(lengths, *, seed=0, offset=0.0):
    lengths = torch.tensor(lengths)
    values = torch.randn(int(lengths.sum()), 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Representation((values + offset).requires_grad_(), lengths)


def naive(queries, documents):
    """Every query, every document, every token."""
    rows = []
    for query in queries.values_TD.split(queries.lengths_N.tolist()):
        row = [
            sum(torch.stack([token @ other for other in document]).max() for token in query)
            for document in documents.values_TD.split(documents.lengths_N.tolist())
        ]
        rows.append(torch.stack(row))
    return torch.stack(rows)


@pytest.mark.parametrize(("block_elements", "backward_pairs"), [(1, 1), (40, 20), (10**6, 10**6)])
@pytest.mark.parametrize("offset", [0.0, -3.0])
def test_scores_and_gradients_are_those_of_the_loops(monkeypatch, block_elements, backward_pairs, offset):
    monkeypatch.setattr(module, "BACKWARD_PAIRS", backward_pairs)
    queries, documents = packed([3, 1, 5]), packed([7, 2, 9, 4, 1], seed=1, offset=offset)
    weight = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    scores, expected = maxsim(queries, documents, block_elements=block_elements), naive(queries, documents)
    torch.testing.assert_close(scores, expected, rtol=1e-12, atol=1e-12)
    leaves = (queries.values_TD, documents.values_TD)
    for mine, reference in zip(
        torch.autograd.grad((scores * weight).sum(), leaves),
        torch.autograd.grad((expected * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


def test_negative_similarities_are_not_lifted_to_zero_by_padding():
    queries = Representation(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    documents = Representation(torch.tensor([[-0.5, 0.0], [-0.2, 0.0], [-0.9, 0.0]]), torch.tensor([2, 1]))
    assert maxsim(queries, documents).tolist() == [[pytest.approx(-0.2), pytest.approx(-0.9)]]


def test_ties_give_the_whole_gradient_to_the_winners_together():
    queries = Representation(torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([1]))
    documents = Representation(torch.tensor([[0.5, 0.1], [0.5, 0.2]], requires_grad=True), torch.tensor([2]))
    maxsim(queries, documents).sum().backward()
    assert documents.values_TD.grad.sum(0).tolist() == [1.0, 0.0]


def test_other_devices_sum_the_same_rows(monkeypatch):
    """MPS has no weighted embedding_bag: the portable sums are run here in its place."""
    queries, documents = packed([3, 1, 5]), packed([7, 2, 9], seed=1)
    leaves = (queries.values_TD, documents.values_TD)
    expected = torch.autograd.grad(maxsim(queries, documents).sum(), leaves)
    monkeypatch.setattr(module, "BAGS", ())
    actual = torch.autograd.grad(maxsim(queries, documents).sum(), leaves)
    for mine, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, reference)


def test_no_winners_are_stored_without_gradients():
    queries, documents = packed([2]), packed([3])
    with torch.no_grad():
        assert maxsim(queries, documents).grad_fn is None


_BIG = """
import torch
from reasonir.model.maxsim import maxsim
from reasonir.utils.memory_meter import Meter
from reasonir.data.batch import Representation

meter = Meter(torch.device("cpu"))
texts = [
    Representation(torch.randn(count * tokens, 128, requires_grad=True), torch.full((count,), tokens))
    for count, tokens in ((256, 32), (512, 2048))
]
maxsim(*texts).logsumexp(1).sum().backward()
assert all(text.values_TD.grad.abs().sum() > 0 for text in texts)
print(meter.peak_gib)
"""


@pytest.mark.slow
def test_a_large_batch_of_long_documents_stays_within_two_gib():
    """All similarities at once would be 32 GiB; the vectors and their gradients alone are 1."""
    done = subprocess.run([sys.executable, "-c", _BIG], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2
