"""ColBERT against PyLate: token layout, scores, exports, gradients."""

import json
import shutil
import sys
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file, save_file

from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from reasonir.errors import InputError
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.model.export import export
from reasonir.model.head.colbert import ColBERT
from reasonir.types import Document, Example, Text
from tests.helpers import SENTENCES, batch_of, gradients, load, set_dropout

QUERIES = [Text(text) for text in SENTENCES[:5]]
DOCUMENTS = [Text(f"{text}, {text}; and more!") for text in SENTENCES[5:]] + [Text("... !!! ???")]
DOCUMENTS += [Text(" ".join(SENTENCES))]


PYLATE_NAMES = {"query_expansion": "do_query_expansion", "attend_to_expansion": "attend_to_expansion_tokens"}


def pylate(folder, **options):
    models = pytest.importorskip("pylate.models")
    return models.ColBERT(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}, **options)


def pylate_scores(model, queries, documents):
    first = model.encode([text.text for text in queries], is_query=True, convert_to_numpy=False)
    second = model.encode([text.text for text in documents], is_query=False, convert_to_numpy=False)
    return torch.stack([torch.stack([(q @ d.T).max(-1).values.sum() for d in second]) for q in first])


def scores(encoder, queries, documents):
    return encoder.head.score(encoder.encode(queries, "query"), encoder.encode(documents, "document"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"query_expansion": True},
        {"query_expansion": True, "attend_to_expansion": True},
        {"query_prefix": ""},
        {"query_prefix": "[query] ", "document_prefix": "[UNK]"},
    ],
)
def test_tokens_are_laid_out_as_pylate_does(bert, options):
    encoder = load(bert, "colbert", query_length=20, document_length=24, **options)
    given = {"do_query_expansion": False} | {PYLATE_NAMES.get(name, name): value for name, value in options.items()}
    source = pylate(bert, query_length=20, document_length=24, **given)
    for texts, side in ((QUERIES, "query"), (DOCUMENTS, "document")):
        expected = source.tokenize([text.text for text in texts], is_query=side == "query")
        tokens = encoder.head.tokenizer(texts, side)
        padded = tokens.pad(torch.arange(len(texts)))
        width = expected["input_ids"].shape[1]
        assert padded.ids_NL.shape[1] == width
        attend = expected["attention_mask"].bool()
        assert torch.equal(padded.attend_NL, attend)
        assert torch.equal(padded.ids_NL[attend], expected["input_ids"][attend])


@pytest.mark.parametrize("name", ["bert", "qwen"])
@pytest.mark.parametrize("options", [{}, {"query_expansion": False}, {"skiplist": ["the", "no-such-word"]}])
def test_the_export_gives_the_same_scores_in_pylate(request, tmp_path, name, options):
    encoder = load(request.getfixturevalue(name), "colbert", query_length=20, document_length=40, **options)
    export(encoder, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").is_file()
    expected = pylate_scores(pylate(tmp_path / "model"), QUERIES, DOCUMENTS)
    torch.testing.assert_close(scores(encoder, QUERIES, DOCUMENTS), expected, rtol=1e-4, atol=1e-4)
    again = load(tmp_path / "model", "colbert", seed=99)  # nothing is drawn any more
    torch.testing.assert_close(scores(again, QUERIES, DOCUMENTS), expected, rtol=1e-4, atol=1e-4)


def test_adapters_are_merged_into_the_export(bert, tmp_path):
    from reasonir.model.lora import LoRA

    encoder = load(bert, "colbert", model={"lora": LoRA(rank=2, targets=["query"])})
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    expected = scores(encoder, QUERIES, DOCUMENTS)
    export(encoder, tmp_path / "model")
    assert not any("lora" in name for name in load_file(tmp_path / "model" / "model.safetensors"))
    torch.testing.assert_close(
        pylate_scores(pylate(tmp_path / "model"), QUERIES, DOCUMENTS), expected, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(scores(encoder, QUERIES, DOCUMENTS), expected)  # saving changed nothing


def stanford(bert, folder, projection=None):
    """A checkpoint in Stanford's form, without artifact.metadata."""
    shutil.copytree(bert, folder)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {f"bert.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    weights["linear.weight"] = torch.randn(16, 64) if projection is None else projection
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_stanford_checkpoints_load(bert, tmp_path):
    """Their projection is among the weights, their lengths and markers in artifact.metadata."""
    projection = torch.randn(16, 64)
    folder = stanford(bert, tmp_path / "stanford", projection)
    metadata = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 18, "doc_maxlen": 33}
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    encoder = load(folder, "colbert")
    assert encoder.head.tokenizer.limit("query") == 18
    assert encoder.head.tokenizer.limit("document") == 33
    assert ColBERT.limits(folder, {}) == {"query": 18, "document": 33}
    assert torch.equal(encoder.head.projections[0].linear.weight, projection)
    assert ColBERT.vector_size(folder, {}, 64) == 16
    torch.testing.assert_close(
        scores(encoder, QUERIES, DOCUMENTS), pylate_scores(pylate(folder), QUERIES, DOCUMENTS), rtol=1e-4, atol=1e-4
    )


def test_a_checkpoint_that_pylate_used_and_saved_loads(bert, tmp_path):
    """It carries the length PyLate truncated to last, less the marker, as the tokenizer's maximum."""
    source = pylate(bert)
    source.tokenize([text.text for text in DOCUMENTS], is_query=False)
    source.save(str(tmp_path / "model"))
    assert json.loads((tmp_path / "model" / "sentence_bert_config.json").read_text())["max_seq_length"] == 179
    encoder = load(tmp_path / "model", "colbert")
    assert encoder.head.tokenizer.limit("document") == 180
    torch.testing.assert_close(
        scores(encoder, QUERIES, DOCUMENTS), pylate_scores(source, QUERIES, DOCUMENTS), rtol=1e-4, atol=1e-4
    )


def test_neither_loading_nor_encoding_nor_exporting_needs_pylate(bert, tmp_path, monkeypatch, caplog):
    expected = scores(load(bert, "colbert"), QUERIES, DOCUMENTS)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pylate"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pylate", None)  # importing it fails
    encoder = load(bert, "colbert")
    torch.testing.assert_close(scores(encoder, QUERIES, DOCUMENTS), expected, rtol=0, atol=0)
    export(encoder, tmp_path / "model")
    again = load(tmp_path / "model", "colbert")
    torch.testing.assert_close(scores(again, QUERIES, DOCUMENTS), expected, rtol=1e-5, atol=1e-5)
    judged = find_spec("sentence_transformers.multi_vector_encoder") is not None
    assert caplog.text.count("compared with no other library's") == (0 if judged else 2)


def test_a_stanford_checkpoint_without_metadata_has_its_defaults(bert, tmp_path):
    folder = stanford(bert, tmp_path / "stanford")
    tokenizer = load(folder, "colbert").head.tokenizer
    assert (tokenizer.limit("query"), tokenizer.limit("document"), tokenizer.expand) == (32, 180, True)
    assert ColBERT.limits(folder, {}) == {"query": 32, "document": 180}


def test_a_tokenizer_without_any_token_to_pad_with_is_refused(bert, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(bert, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for name in ("mask_token", "pad_token", "sep_token"):
        config.pop(name)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"bare has neither a mask, .* set pad_token in its tokenizer_config\.json"):
        load(folder, "colbert")


def test_a_model_whose_vocabulary_is_fixed_is_trained_without_markers(bert, monkeypatch):
    def refuses(*_):
        raise NotImplementedError

    monkeypatch.setattr("transformers.BertModel.resize_token_embeddings", refuses)
    with pytest.raises(InputError, match=r"BertModel can't take tokens for markers: set model\.head\.query_prefix"):
        load(bert, "colbert")
    assert load(bert, "colbert", query_prefix="", document_prefix="").head.tokenizer.query_prefix_id is None


def test_a_plain_encoder_starts_with_long_unexpanded_queries_and_an_orthogonal_projection(bert):
    encoder = load(bert, "colbert", embedding_size=16)
    tokenizer = encoder.head.tokenizer
    assert (tokenizer.limit("query"), tokenizer.limit("document"), tokenizer.expand) == (128, 180, False)
    assert ColBERT.limits(bert, {}) == {"query": 128, "document": 180}
    weight = encoder.head.projections[-1].linear.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(16), rtol=0, atol=1e-5)


def test_a_colbert_checkpoint_keeps_what_it_states(bert, tmp_path):
    source = pylate(bert, embedding_size=16)
    source.save(str(tmp_path / "model"))
    encoder = load(tmp_path / "model", "colbert")
    tokenizer = encoder.head.tokenizer
    assert (tokenizer.limit("query"), tokenizer.limit("document"), tokenizer.expand) == (32, 180, True)
    assert ColBERT.limits(tmp_path / "model", {}) == {"query": 32, "document": 180}
    assert ColBERT.limits(tmp_path / "model", {"query_length": 64}) == {"query": 64, "document": 180}
    assert torch.equal(encoder.head.projections[-1].linear.weight, source[-1].linear.weight)


@pytest.mark.parametrize("size", [4, 12, 13])
def test_gradients_have_the_scale_of_pylates_uncached_loss(bert, tmp_path, size):
    """PyLate's cached loss has the same value and gradients batch-size times too large."""
    losses = pytest.importorskip("pylate.losses")
    encoder = load(bert, "colbert", query_length=16, document_length=32, query_expansion=False)
    export(encoder, tmp_path / "model")
    source = pylate(tmp_path / "model").train()
    set_dropout(source, 0.0)
    rows = [
        Example(str(i), f"{SENTENCES[i % 12]} {i}", (Document(f"p{i}", f"{SENTENCES[(i + 5) % 12]} of {i}"),))
        for i in range(size)
    ]
    batch = batch_of(encoder, rows)
    features = [
        source.tokenize([example.query for example in rows], is_query=True, pad=True),
        source.tokenize([example.documents[0].text for example in rows], is_query=False, pad=True),
    ]

    def reference(loss):
        source.zero_grad()
        value = loss([dict(side) for side in features], None)
        value.backward()
        return value.item(), norm(source)

    loss = run_step(encoder, CachedContrastive(1.0), batch, Budget(200), Alone())["loss"]
    loss.backward()
    mine = norm(encoder)
    plain, plain_norm = reference(losses.Contrastive(source))
    cached, cached_norm = reference(losses.CachedContrastive(source, mini_batch_size=4))
    assert loss.item() == pytest.approx(plain, rel=1e-3)
    assert cached == pytest.approx(plain, rel=1e-4)
    assert mine == pytest.approx(plain_norm, rel=2e-2)
    assert cached_norm / plain_norm == pytest.approx(size, rel=1e-3)


def norm(module):
    return float(torch.stack([gradient.norm() for gradient in gradients(module).values()]).norm())


def test_a_document_of_nothing_but_punctuation_keeps_its_markers(bert):
    encoder = load(bert, "colbert")
    representation = encoder.encode([Text("!!!"), Text("?")], "document")
    assert representation.lengths_N.tolist() == [3, 3]  # [CLS], [D], [SEP]


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("query_length", 600, "set it to"),
        ("document_length", 513, "set it to"),
        ("document_length", 2, "give 4 or more"),
    ],
)
def test_impossible_lengths_are_refused(bert, option, value, remedy):
    with pytest.raises(InputError, match=rf"head.{option}={value}.*{remedy}"):
        load(bert, "colbert", **{option: value})
