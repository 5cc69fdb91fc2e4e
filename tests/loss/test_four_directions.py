"""The definition is checked in tests/engine/test_step.py; here against sentence-transformers."""

import pytest
import torch
from torch.nn.functional import normalize

from reasonir.loss.four_directions import FourDirections
from tests.loss.outputs import retrieval_outputs


@pytest.mark.parametrize("hardness", [0.0, 9.0])
def test_it_is_that_of_sentence_transformers_where_texts_differ_and_nothing_is_known(hardness):
    from sentence_transformers.losses import MultipleNegativesRankingLoss
    from sentence_transformers.util import dot_score

    torch.manual_seed(0)
    queries, positives, negatives = (normalize(torch.randn(5, 8), dim=-1).requires_grad_() for _ in range(3))
    theirs = MultipleNegativesRankingLoss(
        None,
        scale=20.0,
        similarity_fct=dot_score,
        directions=("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"),
        hardness_mode="all_negatives" if hardness else None,
        hardness_strength=hardness,
    ).compute_loss_from_embeddings([queries, positives, negatives], None)
    expected = torch.autograd.grad(theirs, [queries, positives, negatives])
    documents = torch.cat([positives, negatives])
    pairs = [(number, number + 5 * side, 1.0 - side) for number in range(5) for side in (0, 1)]
    given = retrieval_outputs(
        queries @ documents.T,
        pairs,
        (torch.arange(5)[:, None] != torch.arange(10)).tolist(),
        queries=queries,
        documents=documents,
    )
    ours = FourDirections(0.05, hardness=hardness)(given)["loss"]
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    for mine, other in zip(torch.autograd.grad(ours, [queries, positives, negatives]), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
