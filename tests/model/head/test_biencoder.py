"""Against sentence-transformers itself: pooling on either padding side, prompts, exports."""

import json

import pytest
import torch

from reasonir.data.batch import Representation
from reasonir.errors import InputError
from reasonir.model.export import export
from reasonir.model.head.biencoder import BiEncoder
from reasonir.model.prompts import Prompts
from reasonir.types import Text
from tests.helpers import SENTENCES, load

TEXTS = [Text(text) for text in SENTENCES]


def sentence_transformer(folder, pooling, side="right", **options):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    transformer = Transformer(str(folder), max_seq_length=24, model_args={"dtype": torch.float32})
    transformer.tokenizer.padding_side = side
    pool = Pooling(transformer.get_word_embedding_dimension(), pooling_mode=pooling, **options)
    return SentenceTransformer(modules=[transformer, pool, Normalize()], device="cpu")


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", ["bert", "qwen"])
def test_pooling_is_that_of_sentence_transformers_on_either_padding_side(request, tmp_path, name, pooling, side):
    if pooling == "cls" and side == "left":
        pytest.skip("sentence-transformers takes a padding token for the first one")
    if name == "bert" and side == "left":
        pytest.skip("absolute positions count the padding")
    theirs = sentence_transformer(request.getfixturevalue(name), pooling, side)
    theirs.save(str(tmp_path / "theirs"), create_model_card=False)
    encoder = load(tmp_path / "theirs", "biencoder")
    assert encoder.head.pooling == pooling
    found = encoder.encode(TEXTS, "query", budget=100).values_TD
    expected = theirs.encode([text.text for text in TEXTS], convert_to_tensor=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "qwen"])
def test_the_export_gives_the_same_vectors_with_the_same_prompts(request, tmp_path, name):
    from sentence_transformers import SentenceTransformer

    prompts = Prompts(query="Instruct: {instruction}\nQuery: ", document="passage: ", instruction="find the cause")
    encoder = load(
        request.getfixturevalue(name), "biencoder", model={"prompts": prompts}, pooling="mean", max_length=24
    )
    export(encoder, tmp_path / "model")
    theirs = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    strings = [text.text for text in TEXTS]
    for side, found in (("query", theirs.encode_query(strings)), ("document", theirs.encode_document(strings))):
        torch.testing.assert_close(encoder.encode(TEXTS, side).values_TD, torch.from_numpy(found), rtol=1e-4, atol=1e-5)
    own = encoder.encode([Text(TEXTS[0].text, "find the culprit")], "query").values_TD
    assert not torch.allclose(own, encoder.encode(TEXTS[:1], "query").values_TD)


def test_models_that_pool_without_their_prompt_do_so_here(bert, tmp_path):
    theirs = sentence_transformer(bert, "mean", include_prompt=False)
    theirs.prompts = {"query": "for retrieval: "}
    theirs.save(str(tmp_path / "theirs"), create_model_card=False)
    encoder = load(tmp_path / "theirs", "biencoder")
    expected = theirs.encode([text.text for text in TEXTS], prompt_name="query", convert_to_tensor=True)
    torch.testing.assert_close(encoder.encode(TEXTS, "query").values_TD, expected, rtol=1e-4, atol=1e-5)


def test_every_trained_dimension_is_a_view_of_its_own(bert):
    encoder = load(bert, "biencoder", dimensions=[64, 16])
    representation = encoder.encode(TEXTS[:3], "query")
    whole, prefix = (encoder.head.score(*view) for view in encoder.head.views(representation, representation))
    torch.testing.assert_close(whole, encoder.head.score(representation, representation))
    cut = torch.nn.functional.normalize(representation.values_TD[:, :16], dim=-1)
    torch.testing.assert_close(prefix, cut @ cut.T)


def test_matryoshka_loss_is_the_mean_over_dimensions(bert):
    from reasonir.distributed.ranks import Alone
    from reasonir.engine.step import Budget, run_step
    from reasonir.loss.cached_contrastive import CachedContrastive
    from tests.helpers import batch_of, examples

    encoder = load(bert, "biencoder", dimensions=[64, 16])
    batch = batch_of(encoder, examples(5))
    nested = run_step(encoder, CachedContrastive(0.1), batch, Budget(100), Alone())["loss"]
    losses = []
    for dimension in (64, 16):
        encoder.head.dimensions = (dimension,)
        losses.append(run_step(encoder, CachedContrastive(0.1), batch, Budget(100), Alone())["loss"])
    assert nested.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_a_colbert_checkpoint_becomes_a_mean_pooled_bi_encoder(bert, tmp_path):
    export(load(bert, "colbert"), tmp_path / "model")
    encoder = load(tmp_path / "model", "biencoder")
    assert encoder.head.pooling == "mean"
    assert encoder.encode(TEXTS, "query").values_TD.shape == (len(TEXTS), 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "head.pooling=max: choose cls, mean, lasttoken"),
        ({"dimensions": [64, 65]}, "model.head.dimensions contains 65"),
        ({"max_length": 513}, "model.head.max_length=513.*512 or less"),
    ],
)
def test_what_a_model_does_not_have_is_refused(bert, options, message):
    with pytest.raises(InputError, match=message):
        load(bert, "biencoder", **options)


def test_a_decoders_first_token_is_no_text(qwen):
    with pytest.raises(InputError, match=r"model\.head\.pooling=cls: .* choose lasttoken or mean"):
        load(qwen, "biencoder", pooling="cls")


def test_limits_are_known_without_loading(bert, tmp_path):
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 77}))
    assert BiEncoder.limits(tmp_path, {}) == {"query": 77, "document": 77}
    assert BiEncoder.limits(bert, {}) == {"query": 512, "document": 512}
    assert BiEncoder.limits(None, {"max_length": 9})["query"] == 9


def test_cosine_is_the_score():
    values = torch.nn.functional.normalize(torch.randn(3, 8), dim=-1)
    representation = Representation(values, torch.ones(3, dtype=torch.int64))
    torch.testing.assert_close(BiEncoder.score(None, representation, representation), values @ values.T)
