"""Estimated graph of a layer against what autograd saves."""

from dataclasses import replace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from reasonir.model.lora import LoRA
from reasonir.model.shape import Shape
from tests.helpers import load, set_dropout

TEXTS, WIDTH = 16, 64


def saved(encoder, *, mixed=False):
    """Bytes a token that autograd saves of the backbone, weights and their 16-bit copies left out."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    shapes = {parameter.shape for parameter in encoder.parameters() if parameter.ndim == 2}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        cast = tensor.dtype == torch.bfloat16 and tensor.ndim == 2 and {tensor.shape, tensor.T.shape} & shapes
        if storage.data_ptr() not in parameters and not cast:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        encoder.backbone(input_ids=torch.randint(5, 900, (TEXTS, WIDTH)))
    return sum(size for size, _ in kept.values()) / (TEXTS * WIDTH)


@pytest.mark.parametrize(
    ("name", "dropout", "adapted", "mixed", "tolerance"),
    [
        ("bert", 0.1, False, False, 0.1),
        ("bert", 0.0, False, False, 0.1),
        ("qwen", 0.0, False, False, 0.2),
        ("bert", 0.1, False, True, 0.2),
        ("qwen", 0.0, False, True, 0.35),
        ("bert", 0.1, True, False, 0.15),
    ],
)
def test_a_graph_is_as_large_as_estimated(request, name, dropout, adapted, mixed, tolerance):
    folder = request.getfixturevalue(name)
    lora = LoRA(rank=1, dropout=dropout) if adapted else LoRA()
    encoder = load(folder, "biencoder", model={"lora": lora})
    set_dropout(encoder, dropout)
    for module in encoder.modules():
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = dropout
    shape = replace(Shape.read(folder), attention_dropout=dropout)
    layers = shape.layers * shape.layer_bytes(WIDTH, mixed=mixed, on_cpu=True, adapted=adapted)
    embeddings = 3 * shape.hidden * 4
    assert layers + embeddings == pytest.approx(saved(encoder, mixed=mixed), rel=tolerance)


def test_a_layers_matrices_are_counted(bert, qwen):
    for folder in (bert, qwen):
        shape = Shape.read(folder)
        layer = dict(load(folder, "biencoder").backbone.named_modules())
        name = "encoder.layer.0" if folder == bert else "layers.0"
        matrices = sum(p.numel() for p in layer[name].parameters() if p.ndim == 2)
        assert shape.layer_parameters == pytest.approx(matrices, rel=0.02)


def test_frozen_attention_kernels_keep_rows_where_nothing_fuses_them():
    fused = Shape(1, 64, 256, 4, 10_000, attention_dropout=0.1)
    plain = replace(fused, fused=False)
    on = {"mixed": False, "on_cpu": False}
    assert fused.layer_bytes(32, **on) == fused.layer_bytes(512, **on)
    assert plain.layer_bytes(512, **on) - plain.layer_bytes(32, **on) == 4 * 480 * 9
    assert fused.layer_bytes(512, mixed=False, on_cpu=True) > fused.layer_bytes(32, mixed=False, on_cpu=True)
