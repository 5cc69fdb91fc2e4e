"""Exports are complete or absent, and open as the exported model in every library."""

import json
import math
import shutil
from importlib.util import find_spec

import pytest
import torch

import reasonir
from reasonir.errors import InputError
from reasonir.model import export_check
from reasonir.model.export import export
from reasonir.model.head.biencoder import BiEncoder
from reasonir.model.lora import LoRA
from reasonir.model.prompts import Prompts
from reasonir.types import Pair, Text
from tests.helpers import HEADS, RETRIEVERS, SENTENCES, load
from tests.hostile import edit

DECODER = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
}


def decoder(folder, family, *, pad=True, side="right", **options):
    """A decoder whose texts end with a token of their own, as embedding models of this kind have it."""
    from tokenizers import processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    from reasonir.model.tiny import _train_tokenizer

    inner = _train_tokenizer(1000)
    end = ("[SEP]", inner.token_to_id("[SEP]"))
    inner.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", pair="$A [SEP] $B:1 [SEP]:1", special_tokens=[end]
    )
    special = {"unk_token": "[UNK]", "eos_token": "[SEP]", **({"pad_token": "[PAD]"} if pad else {})}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=512, padding_side=side, **special)
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **DECODER, vocab_size=1000, **options)
    AutoModel.from_config(config).save_pretrained(folder)
    stated = json.loads((folder / "config.json").read_text()) | options  # what making a config made of them
    (folder / "config.json").write_text(json.dumps(stated))
    tokenizer.save_pretrained(folder)
    return folder


def window(folder):
    return json.loads((folder / "config.json").read_text())["sliding_window"]


@pytest.mark.parametrize("head", ["colbert", "biencoder", "cross_encoder", "provence"])
def test_a_bidirectional_window_is_restored(tmp_path, head):
    """transformers halves it at each reading, so that what is saved is another model, and its export yet another."""
    folder = decoder(tmp_path / "gemma", "gemma3_text", sliding_window=16, use_bidirectional_attention=True)
    for turn in range(3):
        encoder = load(folder, head)
        assert encoder.backbone.config.sliding_window == 9
        export(encoder, tmp_path / f"export{turn}")
        folder = tmp_path / f"export{turn}"
        assert window(folder) == 16


def test_an_export_that_is_another_model_is_not_published(tmp_path, monkeypatch):
    def narrow(folder, config):
        edit(folder / "config.json", sliding_window=4)

    monkeypatch.setattr("reasonir.model.export._restore_window", narrow)
    folder = decoder(tmp_path / "gemma", "gemma3_text", sliding_window=16, use_bidirectional_attention=True)
    encoder = load(folder, "biencoder")
    with pytest.raises(InputError, match=r"outputs by reasonir differ by .* on a text of \d+ words"):
        export(encoder, tmp_path / "model")
    assert [file.name for file in tmp_path.iterdir()] == ["gemma"]


@pytest.mark.parametrize("head", ["colbert", "biencoder", "gaussian", "cross_encoder", "provence"])
def test_a_decoder_without_a_padding_token_can_be_batched_by_its_ecosystem(tmp_path, head):
    encoder = load(decoder(tmp_path / "qwen", "qwen3", pad=False, side="left"), head)
    export(encoder, tmp_path / "model")  # compared in batches
    assert json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())["pad_token"]


def test_a_padding_token_of_the_config_is_that_of_the_tokenizer(tmp_path):
    """A decoder's classifier finds the last token by the config's, which decoders state as they like."""
    encoder = load(decoder(tmp_path / "qwen", "qwen3", pad_token_id=7), "cross_encoder")
    export(encoder, tmp_path / "model")
    stated = json.loads((tmp_path / "model" / "config.json").read_text())
    assert stated["pad_token_id"] == encoder.head.tokenizer.tokenizer.pad_token_id != 7


@pytest.mark.parametrize("pooling", ["mean", "lasttoken"])
def test_pooling_is_the_same_where_the_tokenizer_padded_on_the_left(tmp_path, pooling):
    encoder = load(decoder(tmp_path / "qwen", "qwen3", side="left"), "biencoder", pooling=pooling)
    export(encoder, tmp_path / "model")  # compared in batches
    assert json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())["padding_side"] == "right"


def states_eos(folder):
    """A decoder whose tokenizer has no template, only the statement that texts end with a token."""
    decoder(folder, "qwen3")
    for name, change in (
        ("tokenizer.json", {"post_processor": None}),
        ("tokenizer_config.json", {"add_eos_token": True}),
    ):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    return folder


@pytest.mark.parametrize("head", ["biencoder", "gaussian", "colbert", "cross_encoder", "provence"])
def test_the_end_of_text_that_transformers_ignores_is_that_of_the_export_too(tmp_path, caplog, head):
    options = {"pooling": "lasttoken"} if head in ("biencoder", "gaussian") else {}
    encoder = load(states_eos(tmp_path / "qwen"), head, **options)
    end = encoder.head.tokenizer.tokenizer.eos_token_id
    texts = [Text("bees"), Text("long " * 600)]
    if encoder.head.reads_pairs:
        tokens, _ = encoder.head.tokenizer([Pair(text, text) for text in texts])
    else:
        tokens = encoder.head.tokenizer(texts, "document")
    assert [ids[-1].item() for ids in torch.split(tokens.ids_T, tokens.lengths_N.tolist())] == [end, end]
    export(encoder, tmp_path / "model")  # compared with the libraries' own reading
    again = load(tmp_path / "model", head).head.tokenizer
    assert again.tokenizer("bees")["input_ids"] == encoder.head.tokenizer.tokenizer("bees")["input_ids"]
    assert "pools the last token" not in caplog.text


@pytest.mark.parametrize("name", ["bert", "qwen"])
@pytest.mark.parametrize("head", ["biencoder", "gaussian", "colbert", "cross_encoder", "provence"])
def test_control_tokens_of_a_prompt_are_those_of_the_export_too(request, tmp_path, head, name):
    prompts = Prompts("[SEP] query [PAD]", "[SEP]")
    encoder = load(request.getfixturevalue(name), head, model={"prompts": prompts})
    export(encoder, tmp_path / "model")  # compared with the libraries' own reading


@pytest.mark.parametrize("head", ["biencoder", "colbert", "cross_encoder"])
def test_a_tokenizer_without_any_special_token_is_refused(tmp_path, head):
    folder = decoder(tmp_path / "bare", "qwen3")
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"post_processor": None, "added_tokens": []}))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(InputError, match="set pad_token in its"):
        load(folder, head)


def test_a_last_token_that_is_a_word_is_said(tmp_path, caplog):
    folder = states_eos(tmp_path / "qwen")
    (folder / "tokenizer_config.json").write_text(
        (folder / "tokenizer_config.json").read_text().replace('"add_eos_token": true', '"add_eos_token": false')
    )
    load(folder, "biencoder", pooling="lasttoken")
    assert "pools the last token of a text, and its tokenizer adds none" in caplog.text


@pytest.mark.parametrize("head", HEADS)
def test_the_tokenizer_forgets_how_it_was_called(bert, decoder, tmp_path, head):
    folder, options = (decoder, {}) if head == "yes_no" else (bert, {})
    encoder = load(folder, head, **options)
    pair = Pair(Text("why"), Text("long " * 600))
    encoder.head.tokenizer([pair]) if head in ("yes_no", "cross_encoder", "provence") else encoder.head.tokenizer(
        [Text("long " * 600)], "document"
    )
    export(encoder, tmp_path / "model")
    for file in (tmp_path / "model").rglob("tokenizer.json"):
        stated = json.loads(file.read_text())
        assert (stated["truncation"], stated["padding"]) == (None, None)


@pytest.mark.parametrize("head", HEADS)
def test_settings_that_the_ecosystem_omits_are_in_the_manifest(bert, decoder, tmp_path, head):
    """Lengths, shares, instructions and prompts with places for instructions: an export alone opens as it was."""
    prompts = Prompts(query="Instruct: {instruction}\nQuery: ", document="Passage: ", instruction="find the cause")
    options = {"yes_no": {"max_length": 300, "instruction": "be strict", "query_share": 0.3}}.get(head, {})
    if head in ("cross_encoder", "provence"):
        options = {"max_length": 60, "query_share": 0.3}
    encoder = load(decoder if head == "yes_no" else bert, head, model={"prompts": prompts}, **options).eval()
    export(encoder, tmp_path / "model")
    again = reasonir.load(tmp_path / "model").encoder
    query = Text("who repairs ovens " * 30, "name the trade")
    if head in ("yes_no", "cross_encoder", "provence"):
        pairs = [Pair(query, Text("a mason " * 50)), Pair(Text("why"), Text("because"))]
        assert torch.allclose(again.score_pairs(pairs), encoder.score_pairs(pairs), atol=1e-5)
    else:
        assert torch.allclose(again.encode([query], "query").values_TD, encoder.encode([query], "query").values_TD)


@pytest.mark.parametrize("head", RETRIEVERS)
def test_a_learned_temperature_is_that_of_the_export(bert, tmp_path, head):
    encoder = load(bert, head, model={"learn_temperature": True}, temperature=0.5).eval()
    with torch.no_grad():
        encoder.head.log_temperature += 1
    export(encoder, tmp_path / "model")
    again = reasonir.load(tmp_path / "model").encoder
    assert again.head.temperature == pytest.approx(0.5 * math.e)
    assert "head.log_temperature" in encoder.state_dict().keys() - again.state_dict().keys()


def test_adapters_and_packed_texts_are_compared_too(bert, tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(
        export_check.ExportCheck, "_refuse_difference", lambda self, variant, *_: compared.append(variant)
    )
    export(load(bert, "colbert", model={"lora": LoRA(rank=2)}), tmp_path / "model")
    judge = "PyLate" if find_spec("pylate") else "sentence-transformers"
    assert compared == ["of packed texts", "by reasonir", f"by {judge}"] * 2


def test_samples_are_cut_and_longer_than_the_window(bert, tmp_path):
    encoder = load(decoder(tmp_path / "gemma", "gemma3_text", sliding_window=100, pad=True), "biencoder", max_length=64)
    check = export_check.ExportCheck(encoder, None, tmp_path)
    (_, queries), (_, documents) = check._texts(list(SENTENCES))
    assert encoder.head.tokenizer(queries, "query").lost_N[-1] > 0
    monkey = load(tmp_path / "gemma", "biencoder", max_length=512)
    long = export_check.ExportCheck(monkey, None, tmp_path)._long(SENTENCES, 100_000)
    assert monkey.head.tokenizer([Text(long)], "document").lengths_N.item() > 100
    assert documents[-1].text


def test_a_model_that_is_not_finite_is_not_exported(bert, tmp_path):
    encoder = load(bert, "biencoder")
    next(encoder.backbone.parameters()).data.fill_(torch.nan)
    with pytest.raises(InputError, match="not finite"):
        export(encoder, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(bert, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files that are no export"):
        export(load(bert, "biencoder"), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_an_export_takes_the_place_of_an_earlier_one(bert, tmp_path):
    for length in (30, 40):
        export(load(bert, "biencoder", max_length=length), tmp_path / "model")
        assert BiEncoder.limits(tmp_path / "model", {})["query"] == length
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.fixture(scope="module")
def exported(bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    export(load(bert, "colbert"), folder)
    return folder


def written(folder):
    """The files of an export in the order in which they were written."""
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    return sorted(files, key=lambda file: (str(file) != "reasonir.json", (folder / file).stat().st_mtime_ns))


def test_no_state_of_an_interrupted_export_loads(exported, tmp_path):
    files = written(exported)
    assert len(files) > 6
    for count in range(1, len(files)):
        part = tmp_path / f"after{count}"
        for file in files[:count]:
            (part / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(exported / file, part / file)
        (part / "reasonir.json").write_text(json.dumps({"format": 1}))  # as `begin` writes it
        with pytest.raises(InputError, match=r"unfinished export|holds no config\.json|holds no weights"):
            reasonir.load(part)


def test_an_export_killed_at_any_write_leaves_no_model(bert, tmp_path, monkeypatch):
    """The final name appears with the last rename only."""
    encoder = load(bert, "biencoder")

    class Killed(BaseException):
        pass

    def kill(*_):
        assert not (tmp_path / "model").exists()
        raise Killed

    for step in ("begin", "finish"):
        monkeypatch.setattr(f"reasonir.model.manifest.{step}", kill)
        with pytest.raises(Killed):
            export(encoder, tmp_path / "model")
        monkeypatch.undo()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("file", ["model.safetensors", "1_Dense/model.safetensors", "modules.json", "tokenizer.json"])
def test_a_missing_or_altered_file_is_named(exported, tmp_path, file):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    content = bytearray((copy / file).read_bytes())
    content[-1] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(InputError, match=rf"{file} has SHA-256 .* instead of"):
        reasonir.load(copy)
    (copy / file).write_bytes(content[:-1])
    with pytest.raises(InputError, match=rf"{file} has \d+ bytes instead of \d+"):
        reasonir.load(copy)
    (copy / file).unlink()
    with pytest.raises(InputError, match=f"{file} is missing|holds no"):
        reasonir.load(copy)
