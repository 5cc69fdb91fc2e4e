"""Dense layers and transformers models as PyLate and sentence-transformers save and open them."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from reasonir.errors import InputError
from reasonir.model.sentence_modules import Dense, read_transformer, read_weights
from tests.helpers import load

VALUES_TI = torch.randn(7, 12, generator=torch.Generator().manual_seed(0))
KINDS = [
    {"out_features": 5, "bias": False},
    {"out_features": 5, "bias": True, "activation_function": nn.Tanh()},
    {"out_features": 12, "bias": True, "activation_function": nn.GELU(), "use_residual": True},
    {"out_features": 5, "bias": False, "activation_function": nn.PReLU(), "use_residual": True},
]


def of_pylate(layer):
    return layer({"token_embeddings": VALUES_TI})["token_embeddings"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_layer_of_pylate_is_read_and_written_as_it_is(tmp_path, kind, name):
    pylate = pytest.importorskip("pylate.models")
    saved = pylate.Dense(12, **kind)
    saved.save(str(tmp_path), safe_serialization=name == "model.safetensors")
    assert (tmp_path / name).is_file()
    layer = Dense.read(tmp_path)
    assert torch.equal(layer(VALUES_TI), of_pylate(saved))
    layer.save(tmp_path / "again")
    assert torch.equal(of_pylate(pylate.Dense.load(str(tmp_path / "again"))), of_pylate(saved))
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == saved.get_config_dict()
    assert load_file(tmp_path / "again" / "model.safetensors").keys() == saved.state_dict().keys()


@pytest.mark.parametrize("activation", [None, nn.Tanh(), nn.GELU()])
def test_a_layer_of_sentence_transformers_is_read(tmp_path, activation):
    from sentence_transformers.models import Dense as Saved

    saved = Saved(12, 5, activation_function=activation)
    saved.save(str(tmp_path))
    expected = saved({"sentence_embedding": VALUES_TI})["sentence_embedding"]
    assert torch.equal(Dense.read(tmp_path)(VALUES_TI), expected)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "in_features"),
        ({"in_features": 12, "out_features": 6, "bias": False}, "size mismatch"),
        ({"in_features": 12, "out_features": 5, "bias": True}, r"Missing key.*linear\.bias"),
        ({"in_features": 12, "out_features": "5", "bias": False}, r"must be tuple of ints|invalid combination"),
    ],
)
def test_an_incomplete_layer_is_named(tmp_path, config, reason):
    Dense(12, 5).save(tmp_path / "1_Dense")
    file = tmp_path / "1_Dense" / "config.json"
    file.unlink() if config is None else file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=rf"1_Dense is no complete Dense layer \(.*{reason}.*download"):
        Dense.read(tmp_path / "1_Dense")


def test_a_layer_without_weights_is_named(tmp_path):
    Dense(12, 5).save(tmp_path / "1_Dense")
    (tmp_path / "1_Dense" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"1_Dense is no complete Dense layer \(.*Missing key"):
        Dense.read(tmp_path / "1_Dense")


def test_only_the_named_weights_are_read(bert):
    name = "embeddings.word_embeddings.weight"
    assert read_weights(bert, name, "no_such").keys() == {name}


def test_stated_arguments_of_transformers_hold_and_the_callers_come_first(qwen, tmp_path):
    folder = tmp_path / "model"
    (folder / "0_Transformer").mkdir(parents=True)
    for file in qwen.iterdir():
        (folder / "0_Transformer" / file.name).symlink_to(file)
    module = {"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}
    (folder / "modules.json").write_text(json.dumps([module]))
    stated = {
        "model_args": {"attn_implementation": "eager", "dtype": "float16"},
        "config_args": {"use_cache": False},
        "tokenizer_args": {"model_max_length": 77},
    }
    (folder / "0_Transformer" / "sentence_roberta_config.json").write_text(json.dumps(stated))
    backbone, tokenizer = read_transformer(folder, {"dtype": torch.float32})
    assert (backbone.config._attn_implementation, backbone.config.use_cache) == ("eager", False)
    assert (backbone.dtype, tokenizer.model_max_length) == (torch.float32, 77)


@pytest.mark.parametrize("whole", [True, False])
def test_of_an_encoder_decoder_the_encoder_is_read(bert, tmp_path, whole):
    from transformers import AutoTokenizer, T5Config, T5EncoderModel, T5Model

    config = T5Config(vocab_size=2000, d_model=32, d_ff=48, d_kv=8, num_layers=2, num_heads=4)
    (T5Model if whole else T5EncoderModel)(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(bert).save_pretrained(tmp_path)
    assert isinstance(load(tmp_path, "colbert").backbone, T5EncoderModel)
