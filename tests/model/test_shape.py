"""Dimensions in a configuration, against the weights of a checkpoint."""

import json

import pytest

from reasonir.errors import InputError
from reasonir.model.backbone import Model
from reasonir.model.head.colbert import ColBERT
from reasonir.model.shape import Shape, mistakes
from tests.helpers import load


def test_a_layers_matrices_are_counted(bert, qwen):
    for folder in (bert, qwen):
        shape = Shape.read(folder)
        layer = dict(load(folder, "biencoder").backbone.named_modules())
        name = "encoder.layer.0" if folder == bert else "layers.0"
        assert shape.layer_parameters == sum(p.numel() for p in layer[name].parameters() if p.ndim == 2)


@pytest.mark.parametrize(
    ("config", "gated", "causal"),
    [
        ({"model_type": "bert"}, False, False),
        ({"model_type": "modernbert"}, True, False),
        ({"model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 16}, True, True),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, True, False),
    ],
)
def test_families_are_told_apart(config, gated, causal):
    shape = Shape.of({"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, **config})
    assert (shape.gated, shape.causal) == (gated, causal)
    assert shape.key_value_heads == config.get("num_key_value_heads", 4)
    assert shape.head_size == 16
    assert shape.intermediate == 256


GOOD = {"model_type": "qwen3", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_size": -1}, "hidden_size=-1: give 1 or more"),
        ({"hidden_size": "x"}, "hidden_size='x': expected a whole number"),
        ({"vocab_size": 0}, "vocab_size=0: give 1 or more"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers=2.5: expected a whole number"),
        ({"head_dim": [8]}, "head_dim=[8]: expected a whole number"),
        ({"attention_dropout": 1.5}, "attention_dropout=1.5: give 0 or more, below 1"),
        ({"model_type": 3}, "model_type=3: expected a string"),
        ({"num_attention_heads": 5}, "hidden_size=64: give a multiple of the 5 heads, or state head_dim"),
        ({"num_key_value_heads": 3}, "num_key_value_heads=3: give a divisor of the 4 heads"),
    ],
)
def test_values_that_no_transformer_has_are_refused_where_they_are(changed, message, tmp_path):
    config = GOOD | changed
    with pytest.raises(InputError) as refused:
        Model("a/b", head=ColBERT.load, hub_id="a/b", config=config)
    assert f"config.{message}" in str(refused.value)
    (tmp_path / "config.json").write_text(json.dumps({"text_config": config}))
    with pytest.raises(InputError) as refused:
        Shape.read(tmp_path)
    assert str(tmp_path / "config.json") in str(refused.value)
    assert f"text_config.{message}" in str(refused.value)


@pytest.mark.parametrize("key", [key for key in GOOD if key != "model_type"])
def test_missing_dimensions_are_named(key):
    assert list(mistakes({name: value for name, value in GOOD.items() if name != key})) == [
        f"{key} is missing: state the model's"
    ]


def test_optional_dimensions_may_be_null():
    config = GOOD | {"head_dim": None, "num_key_value_heads": None, "intermediate_size": None}
    assert not [*mistakes(config)]
    assert Shape.of(config) == Shape.of(GOOD)
