"""Gaussian head: initially it ranks like the bi-encoder, and its export opens in sentence-transformers."""

import pytest
import torch

from reasonir.errors import InputError
from reasonir.model.export import export
from reasonir.model.head.gaussian import Gaussian
from reasonir.types import Text
from tests.helpers import SENTENCES, load

TEXTS = [Text(sentence) for sentence in SENTENCES]


def test_untrained_it_scores_the_cosine_less_one(bert):
    plain, encoder = load(bert, "biencoder").eval(), load(bert, "gaussian").eval()
    cosine = plain.head.score(plain.encode(TEXTS[:3], "query"), plain.encode(TEXTS, "document"))
    queries, documents = encoder.encode(TEXTS[:3], "query"), encoder.encode(TEXTS, "document")
    assert torch.allclose(encoder.head.score(queries, documents), cosine - 1, atol=1e-5)
    size = documents.values_TD.shape[1]
    assert torch.allclose(documents.values_TD.norm(dim=1), torch.full((len(TEXTS),), size**0.5), rtol=1e-4)


def test_the_score_is_the_squared_distance_over_twice_the_size(bert):
    encoder = load(bert, "gaussian", size=24).eval()
    queries, documents = encoder.encode(TEXTS[:2], "query"), encoder.encode(TEXTS, "document")
    assert documents.values_TD.shape[1] == 24
    for q in range(2):
        for d in range(len(TEXTS)):
            expected = -(queries.values_TD[q] - documents.values_TD[d]).square().sum() / 48
            assert encoder.head.score(queries, documents)[q, d].item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("options", [{}, {"projection": "mlp", "size": 40}])
def test_the_export_gives_the_same_vectors_in_sentence_transformers_and_here(bert, tmp_path, options):
    from sentence_transformers import SentenceTransformer

    encoder = load(bert, "gaussian", **options).eval()
    expected = encoder.encode(TEXTS, "document").values_TD
    export(encoder, tmp_path / "model")
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert model.similarity_fn_name == "euclidean"
    vectors = torch.tensor(model.encode([text.text for text in TEXTS]))
    assert torch.allclose(vectors, expected, atol=1e-4)
    again = load(tmp_path / "model", "gaussian").eval()
    assert torch.allclose(again.encode(TEXTS, "document").values_TD, expected, atol=1e-4)
    assert len(again.head.rest) == len(encoder.head.rest)


def test_an_unknown_projection_is_refused(bert):
    with pytest.raises(InputError, match="choose linear or mlp"):
        load(bert, "gaussian", projection="cubic")


def test_it_is_a_retriever_of_one_vector():
    assert (Gaussian.kind, Gaussian.single_vector, Gaussian.metric) == ("retriever", True, "euclidean")
