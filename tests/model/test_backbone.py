from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from reasonir.errors import InputError
from reasonir.model.backbone import Model, _no_recomputation, _refuse_batch_norm
from reasonir.model.head.colbert import ColBERT
from reasonir.model.lora import LoRA
from tests.helpers import load


def trained(encoder):
    return {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}


def test_master_weights_are_float32_whatever_the_checkpoint_holds(qwen):
    assert {parameter.dtype for parameter in load(qwen, "colbert").parameters()} == {torch.float32}


def test_new_parameters_are_drawn_from_the_seed(bert):
    weights = [load(bert, "colbert", seed=seed).head.projections[0].linear.weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_unused_parameters_are_not_trained(bert):
    names = trained(load(bert, "colbert"))
    assert names
    assert not any("pooler" in name for name in names)


def test_a_reranker_has_no_temperature_to_learn(bert):
    with pytest.raises(InputError, match="learn_temperature=true: CrossEncoder has no temperature"):
        load(bert, "cross_encoder", model={"learn_temperature": True})


@pytest.mark.parametrize("name", ["bert", "qwen"])
def test_early_layers_are_frozen_with_the_embeddings(request, name):
    names = trained(load(request.getfixturevalue(name), "colbert", model={"freeze_layers": 1}))
    assert not any("embed" in name or ".0." in name.split("projections")[0] for name in names)
    assert any("layer.1." in name or "layers.1." in name for name in names)


def test_embeddings_alone_can_be_frozen(bert):
    names = trained(load(bert, "colbert", model={"freeze_embeddings": True}))
    assert not any("word_embeddings" in name for name in names)
    assert any("layer.0." in name for name in names)


def test_more_layers_than_there_are_cannot_be_frozen(bert):
    with pytest.raises(InputError, match=r"model\.freeze_layers=3: this model has 2 layers"):
        load(bert, "colbert", model={"freeze_layers": 3})


def test_adapters_are_trained_and_the_backbone_is_not(bert):
    names = trained(load(bert, "colbert", model={"lora": LoRA(rank=2, targets=["query"])}))
    assert all("lora_" in name or "projections" in name for name in names)
    assert sum("lora_A" in name for name in names) == 2
    everywhere = trained(load(bert, "colbert", model={"lora": LoRA(rank=2)}))
    assert len(everywhere) > len(names)


@pytest.mark.parametrize("targets", [["query", "q_proj"], "q_proj"])
def test_a_target_that_names_no_layer_is_refused(bert, targets):
    with pytest.raises(
        InputError, match=r"model.lora.targets names q_proj, .* its linear layers are dense, key, query, value"
    ):
        load(bert, "colbert", model={"lora": LoRA(rank=2, targets=targets)})


def test_batch_statistics_are_refused():
    with pytest.raises(InputError, match=r"batch normalisation \(1\)"):
        _refuse_batch_norm(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "x")


@pytest.mark.parametrize("name", ["bert", "qwen"])
def test_frozen_layers_get_no_adapters(request, name):
    options = {"lora": LoRA(rank=2), "freeze_layers": 1}
    names = trained(load(request.getfixturevalue(name), "colbert", model=options))
    adapted = {name for name in names if "lora_" in name}
    assert adapted
    assert not any(".0." in name.split("lora_")[0] or "pooler" in name for name in adapted)
    with pytest.raises(InputError, match=r"model\.lora\.rank=2: every layer to adapt is frozen"):
        load(request.getfixturevalue(name), "colbert", model={**options, "freeze_layers": 2})


@pytest.mark.parametrize("family", ["mpnet", "albert", "xlnet", "funnel", "squeezebert"])
def test_backbones_that_cannot_recompute_their_layers_are_refused_by_their_configuration(tmp_path, family):
    from transformers import AutoConfig

    AutoConfig.for_model(family).save_pretrained(tmp_path)
    model = Model(str(tmp_path), head=partial(ColBERT.load), activation_checkpointing=True)
    assert model.unusable(weights=False).startswith("model.activation_checkpointing=true: transformers' ")
    assert replace(model, activation_checkpointing=False).unusable(weights=False) is None


def test_backbones_that_can_are_not(bert, qwen):
    for folder in (bert, qwen):
        model = Model(str(folder), head=partial(ColBERT.load), activation_checkpointing=True)
        assert model.unusable() is None
        assert model.load()


def test_an_mpnet_is_refused_with_its_weights_too(tmp_path):
    from transformers import MPNetConfig, MPNetModel

    backbone = MPNetModel(MPNetConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32))
    assert "MPNetModel can't recompute its layers" in _no_recomputation(backbone)


@pytest.mark.parametrize("attention", ["flash_attention_2", "flash_attention_3", "flex_attention"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_attention_that_is_not_available_is_refused(bert, attention):
    model = Model(str(bert), head=partial(ColBERT.load), attention=attention)
    assert model.unusable().startswith(f"model.attention={attention}")
