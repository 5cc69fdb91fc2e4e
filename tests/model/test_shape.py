"""Dimensions in a configuration, against the weights of a checkpoint."""

import pytest

from reasonir.model.shape import Shape
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
