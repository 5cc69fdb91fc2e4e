"""Checkpoints that would run code: refused as a folder and as a hub id, run if trusted."""

import json
import shutil
import sys
from importlib.util import find_spec

import pytest
import torch

import reasonir
from reasonir.errors import InputError
from reasonir.inference.retriever import Retriever
from reasonir.model.export import export
from reasonir.model.remote_code import refuse_remote_code
from tests.helpers import load
from tests.hostile import Hostile, add_module, edit

EVIL = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
BRINGS = "by which opening the checkpoint could run code"
TRUST = r"give trust_remote_code=true \(in Python trust_remote_code=True, "


@pytest.fixture(scope="module")
def exported(bert, tmp_path_factory):
    """An export of every head that an attack starts from."""
    place = tmp_path_factory.mktemp("exported")
    for head in ("biencoder", "colbert", "cross_encoder"):
        export(load(bert, head), place / head)
    return place


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    made = Hostile(tmp_path)
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "evil_package.py").write_text(made.code)
    yield made
    sys.modules.pop("evil_package", None)


def module(kind, path=""):
    return lambda folder, _: add_module(folder, kind, path)


def routed(name, inner, **config):
    """A Router whose inner module is `inner`."""

    def change(folder, _):
        add_module(folder, "sentence_transformers.models.Router", "9_Router")
        edit(folder / "9_Router" / name, types={"query_0_Dense": inner}, structure={}, parameters={})
        edit(folder / "9_Router" / "query_0_Dense" / "config.json", **config)

    return change


def json_of(name, **change):
    return lambda folder, _: edit(folder / name, **change)


def nested(folder, made):
    """A type of transformers whose own configuration says that it trusts what it is made of."""
    edit(folder / "inner" / "config.json", **EVIL)
    (folder / "inner" / "evil.py").write_text(made.code)
    inner = {"model_type": "evil", "_name_or_path": str(folder / "inner")}
    edit(folder / "config.json", model_type="lightglue", trust_remote_code=True, keypoint_detector_config=inner)


def elsewhere(folder, made):
    """Another configuration, which transformers takes in place of config.json."""
    kept = (folder / "config.json").read_text()
    nested(folder, made)
    (folder / "config.json").rename(folder / "config.4.0.0.json")
    (folder / "config.json").write_text(kept)
    edit(folder / "config.json", configuration_files=["config.4.0.0.json"])


def pickled(folder, made):
    (folder / "model.safetensors").unlink()
    shutil.copy(made.pickle, folder / "pytorch_model.bin")


def pickled_and_asked_for(folder, made):
    pickled(folder, made)
    edit(folder / "sentence_bert_config.json", model_args={"weights_only": False})


BI, COLBERT, CROSS = "biencoder", "colbert", "cross_encoder"
RELEASE = "depends on transformers' release"
ATTACKS = {
    "a module of its own": (BI, module("evil.Evil"), r"modules\.json has type: evil\.Evil", True),
    "a module of its own for PyLate": (COLBERT, module("evil.Evil"), r"modules\.json has type: evil\.Evil", False),
    "a module of another repository": (BI, module("a/b--evil.Evil"), r"type: a/b--evil\.Evil", False),
    "an installed module": (BI, module("evil_package.Evil"), r"type: evil_package\.Evil", True),
    "through an allowed package": (
        BI,
        module("sentence_transformers.models.Dense.import_from_string"),
        r"type: sentence_transformers\.models\.Dense\.import_from_string",
        False,
    ),
    "a module that names a class": (
        BI,
        module("sentence_transformers.models.WordEmbeddings"),
        "type: sentence_transformers.models.WordEmbeddings",
        False,
    ),
    "a module outside the folder": (
        BI,
        module("sentence_transformers.models.Normalize", "../x"),
        r"path: \.\./x",
        False,
    ),
    "an activation": (
        COLBERT,
        json_of("1_Dense/config.json", activation_function="evil_package.Evil"),
        r"1_Dense/config\.json has activation_function: evil_package\.Evil",
        True,
    ),
    "an activation through torch.nn": (
        COLBERT,
        json_of("1_Dense/config.json", activation_function="torch.nn.modules.activation.torch.load"),
        r"activation_function: torch\.nn\.modules\.activation\.torch\.load",
        False,
    ),
    "a route": (BI, routed("router_config.json", "evil_package.Evil"), r"9_Router/router_config\.json has type", True),
    "an older route": (BI, routed("config.json", "evil_package.Evil"), r"9_Router/config\.json has type", True),
    "an activation in a route": (
        BI,
        routed("router_config.json", "sentence_transformers.models.Dense", activation_function="evil_package.Evil"),
        r"9_Router/query_0_Dense/config\.json has activation_function",
        True,
    ),
    "a language model in a route": (
        BI,
        routed("router_config.json", "sentence_transformers.sparse_encoder.models.MLMTransformer", **EVIL),
        r"9_Router/query_0_Dense/config\.json has auto_map",
        True,
    ),
    "a model": (CROSS, json_of("config.json", **EVIL), r"config\.json has auto_map: .*evil\.Evil", True),
    "a model of another repository": (
        BI,
        json_of("config.json", model_type="evil", auto_map={"AutoConfig": "a/b--evil.Evil"}),
        r"auto_map: .*a/b--evil\.Evil",
        False,
    ),
    "a model within": (CROSS, json_of("config.json", text_config=EVIL), r"config\.json has auto_map", False),
    "trust in the configuration": (CROSS, nested, r"config\.json has trust_remote_code: True", False),
    "another configuration": (CROSS, elsewhere, r"config\.json has configuration_files", RELEASE),
    "a kernel": (BI, json_of("config.json", _attn_implementation="a/kernel"), "_attn_implementation: a/kernel", False),
    "a kernel within": (
        CROSS,
        json_of("config.json", text_config={"attn_implementation": "paged|a/kernel@v1:f"}),
        r"attn_implementation: paged\|a/kernel",
        False,
    ),
    "a kernel as an argument": (
        BI,
        json_of("sentence_bert_config.json", model_args={"attn_implementation": "a/kernel"}),
        r"sentence_bert_config\.json has model_args\.attn_implementation: a/kernel",
        False,
    ),
    "another repository's tokenizer": (
        BI,
        json_of("sentence_bert_config.json", tokenizer_name_or_path="a/b"),
        "tokenizer_name_or_path: a/b",
        False,
    ),
    "arguments under an older name": (
        BI,
        json_of("sentence_xlm-roberta_config.json", model_args={"weights_only": False}),
        r"sentence_xlm-roberta_config\.json has model_args\.weights_only: False",
        False,
    ),
    "no tokenizer": (
        CROSS,
        json_of("tokenizer_config.json", tokenizer_class="RagTokenizer"),
        r"tokenizer_config\.json has tokenizer_class: RagTokenizer",
        False,
    ),
    "no tokenizer by config.json": (
        CROSS,
        json_of("config.json", tokenizer_class="AutoModel"),
        r"config\.json has tokenizer_class: AutoModel",
        False,
    ),
    "the activation of a cross-encoder": (
        CROSS,
        json_of("config.json", sentence_transformers={"activation_fn": "torch.hub.load"}),
        r"activation_fn: torch\.hub\.load",
        False,
    ),
    "a pickle that is asked for": (BI, pickled_and_asked_for, "model_args.weights_only: False", False),
}


def refused(where, hostile, message):
    with pytest.raises(InputError, match=message) as caught:
        reasonir.load(where)
    assert not hostile.done
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_code_is_refused_by_name_and_runs_where_it_is_trusted(attack, hostile, exported, hub, monkeypatch):
    head, change, message, runs = ATTACKS[attack]
    folder = hostile(exported / head)
    change(folder, hostile)
    hub(folder, "some/model")
    monkeypatch.setattr("builtins.input", lambda _: "y")  # nobody is asked either
    for where in (folder, "some/model"):
        refused(where, hostile, f"{message}.*{BRINGS}.*{TRUST}")
    try:
        reasonir.load("some/model", trust_remote_code=True)
    except Exception as error:
        assert BRINGS not in str(error)
    assert hostile.done in ((True, False) if runs is RELEASE else (runs,))


def test_pickled_code_in_weights_is_refused_with_trust_too(hostile, exported):
    folder = hostile(exported / "biencoder")
    pickled(folder, hostile)
    for trust in (False, True):
        with pytest.raises(InputError, match="that holds more than weights"):
            reasonir.load(folder, trust_remote_code=trust)
    assert not hostile.done


def test_an_adapter_is_another_checkpoint(hostile, exported):
    folder = hostile(exported / "biencoder")
    edit(folder / "adapter_config.json", base_model_name_or_path="a/base", peft_type="LORA")
    refused(folder, hostile, rf"adapter_config\.json makes this an adapter of a/base.*merge it.*{TRUST}")


def test_what_transformers_refuses_names_the_class(hostile, exported):
    """A type that transformers knows, but has no classifier for."""
    folder = hostile(exported / "cross_encoder")
    change = {"model_type": "clip_text_model", "auto_map": {"AutoModelForSequenceClassification": "evil.Evil"}}
    edit(folder / "config.json", **change)
    refused(folder, hostile, r"config\.json has auto_map: .*evil\.Evil")


def test_names_that_go_unused_change_nothing(hostile, exported):
    """transformers has code of its own for these, and prefers it."""
    folder = hostile(exported / "cross_encoder")
    edit(folder / "config.json", auto_map={"AutoModelForSequenceClassification": "evil.Evil"})
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    expected = reasonir.load(exported / "cross_encoder").score("rain", ["warm air rises"])
    assert reasonir.load(folder).score("rain", ["warm air rises"]) == expected
    assert not hostile.done


def test_a_relative_folder_is_never_taken_for_a_repository(hostile, exported, hub, monkeypatch):
    """What it lacks, sentence-transformers would take from the hub's cache."""
    other = hostile(exported / "biencoder", "other")
    add_module(other, "evil.Evil")
    hub(other, "some/model")
    folder = hostile(exported / "biencoder", "some/model")
    (folder / "modules.json").unlink()
    monkeypatch.chdir(hostile.place)
    assert Retriever(load("some/model", "biencoder", pooling="mean").eval()).score(["a"], ["b"]).shape == (1, 1)
    assert not hostile.done


def test_formats_that_are_read_here_need_no_trust(tmp_path):
    edit(tmp_path / "config.json", model_type="open_provence", auto_map={"AutoModel": "modeling.OpenProvence"})
    refuse_remote_code(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "{", r"config\.json: not valid JSON"),
        ("modules.json", "{}", r"modules\.json holds a dict instead of a list"),
        ("modules.json", '["evil.Evil"]', r"modules\.json holds 'evil\.Evil' instead of a module"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"{message}.*download the checkpoint again"):
        refuse_remote_code(tmp_path)


def test_what_sentence_transformers_and_pylate_save_passes(exported, tmp_path):
    from sentence_transformers import SentenceTransformer, models

    for head in ("biencoder", "colbert", "cross_encoder"):
        refuse_remote_code(exported / head)
    first = models.Transformer(str(exported / "biencoder"))
    layers = [models.WeightedLayerPooling(64, num_hidden_layers=2), models.LayerNorm(64), models.Dropout(0.1)]
    dense = models.Dense(64, 32, activation_function=torch.nn.GELU())
    routes = models.Router.for_query_document([dense], [models.Dense(64, 32), models.Normalize()])
    SentenceTransformer(modules=[first, *layers, models.Pooling(64), routes]).save(str(tmp_path / "saved"))
    names = {module["type"] for module in json.loads((tmp_path / "saved" / "modules.json").read_text())}
    assert len(names) == 6
    refuse_remote_code(tmp_path / "saved")


BASE = "sentence_transformers.base.modules"
NEWER = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
    "model_kwargs": {"attn_implementation": "sdpa"},
}


def newer(folder, **change):
    """Name modules and arguments as sentence-transformers does from version 6 on."""
    text = (folder / "modules.json").read_text()
    text = text.replace("sentence_transformers.models.Transformer", f"{BASE}.transformer.Transformer")
    text = text.replace(
        "sentence_transformers.models.Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
    )
    (folder / "modules.json").write_text(text.replace("sentence_transformers.models.Normalize", f"{BASE}.Normalize"))
    (folder / "sentence_bert_config.json").write_text(json.dumps(NEWER | change))


def test_what_sentence_transformers_saves_from_6_on_passes_and_needs_that_release(hostile, exported):
    folder = hostile(exported / "biencoder")
    newer(folder)
    refuse_remote_code(folder)
    expected = reasonir.load(exported / "biencoder").score(["rain"], ["warm air rises"])
    if find_spec(BASE.removesuffix(".modules")):
        assert torch.allclose(reasonir.load(folder).score(["rain"], ["warm air rises"]), expected)
    else:
        with pytest.raises(InputError, match=r"needs the Python module sentence_transformers\.base.*pip install -U"):
            reasonir.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality_config": {"text": {"method": "save_pretrained"}}}, r"modality_config\.text: .*save_pretrained"),
        ({"modality_config": ["forward"]}, "modality_config"),
        ({"transformer_task": "retrieval"}, "transformer_task: retrieval"),
        ({"model_kwargs": {"weights_only": False}}, r"model_kwargs\.weights_only: False"),
        ({"processor_kwargs": {"use_fast": "a/b"}}, r"processor_kwargs\.use_fast: a/b"),
        ({"processing_kwargs": {"chat_template": {}}}, "processing_kwargs"),
    ],
)
def test_its_files_may_call_nothing_else(hostile, exported, change, message):
    folder = hostile(exported / "biencoder")
    newer(folder, **change)
    refused(folder, hostile, f"sentence_bert_config\\.json has {message}.*{BRINGS}.*{TRUST}")


def test_every_tokenizer_of_transformers_passes(tmp_path):
    """Of those whose packages aren't here, transformers itself says so."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    for name in {*TOKENIZER_MAPPING_NAMES.values(), "PreTrainedTokenizerFast", "NoSuchTokenizer"} - {
        None,
        "RagTokenizer",
    }:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
        refuse_remote_code(tmp_path)


def test_a_kernel_is_code_whoever_names_it(bert):
    with pytest.raises(InputError, match=rf"model\.attention=a/kernel is a kernel of the hub.*{TRUST}"):
        load(bert, "biencoder", model={"attention": "a/kernel"})
