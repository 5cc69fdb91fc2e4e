"""Components of a saved configuration: reasonir's classes in their roles, and a user's own that his YAML names."""

from pathlib import Path

import pytest

from reasonir.errors import InputError
from reasonir.model.head.colbert import ColBERT
from reasonir.model.tiny import Tiny
from reasonir.runs.components import component, refuse_unknown_components
from reasonir.runs.plain_values import plain_values
from tests.hostile import DATA, MODEL

LOAD = "reasonir.model.head.colbert.ColBERT.load"
FILE = Path("run/config.yaml")


@pytest.mark.parametrize(
    "name",
    [
        "torch.load",
        "joblib.load",
        "reasonir.training.checkpoints.torch.load",
        "reasonir.training.checkpoints.pickle.loads",
        "reasonir.training.checkpoints.find_checkpoint",
        "reasonir.model.backbone.Path",
        "reasonir.model.backbone.Model.load.__globals__",
        "reasonir.cli.configuration.hydra.utils.instantiate",
        "reasonir.load",
        "reasonir",
        "reasonir.no_such.Class",
        "reasonir.model.tiny.NoSuch.load",
        "reasonirs.model.tiny.Tiny",
        "",
        None,
        ["torch.load"],
        {"_target_": "torch.load"},
    ],
)
def test_nothing_else_is_a_component(name):
    assert component(name) is None


def test_components_are_classes_where_they_are_defined():
    assert component("reasonir.model.tiny.Tiny") is Tiny
    assert component(LOAD) == ColBERT.load


HEAD, BACKBONE = MODEL["head"], "reasonir.model.backbone.Model"
FOREIGN = {
    "another library's": (
        {"lora": {"_target_": "torch.load", "f": "x"}},
        r"model\.lora\._target_=torch\.load is no lora",
    ),
    "deeper": (
        {"config": {"layers": {"x": [{"_target_": "torch.load"}]}}},
        r"model\.config\.layers\.x\[0\]\._target_=torch\.load",
    ),
    "in a list": ({"freeze_layers": [{"_target_": "torch.load"}]}, r"model\.freeze_layers\[0\]\._target_=torch\.load"),
    "in a value": ({"lr": {"_target_": "reasonir.model.lora.LoRA"}}, r"model\.lr\._target_=reasonir.* is no component"),
    "another part's": ({"prompts": {"_target_": BACKBONE}}, r"model\.prompts\._target_=.* is no prompts"),
    "no model": ({"_target_": "reasonir.model.prompts.Prompts"}, r"model\._target_=.* is no model"),
    "no head": ({"head": {**HEAD, "_target_": BACKBONE}}, r"model\.head\._target_=.* is no head"),
    "a head that isn't asked": (
        {"head": {**HEAD, "_target_": "reasonir.model.head.biencoder.BiEncoder"}},
        r"model\.head\._target_=.* is no head",
    ),
    "another load": ({"head": {**HEAD, "_target_": "reasonir.inference.retriever.Retriever.load"}}, "is no head"),
    "a head that loads at once": (
        {"head": {**HEAD, "_partial_": False, "folder": "evil", "model_kwargs": {}}},
        r"model\.head\._partial_=False isn't what reasonir saves",
    ),
    "positional arguments": ({"lora": {**MODEL["lora"], "_args_": [1]}}, r"model\.lora\._args_=\[1\] isn't what"),
    "another conversion": ({"_convert_": "object"}, r"model\._convert_=object isn't what"),
    "an environment variable": ({"path": "${oc.env:HOME}"}, r"model\.path holds '\$\{oc\.env:HOME\}'"),
    "an interpolation in a list": ({"head": {**HEAD, "dimensions": ["${seed}"]}}, r"dimensions\[0\] holds"),
}


@pytest.mark.parametrize("case", list(FOREIGN))
def test_what_no_run_saves_is_refused_in_a_model(case):
    change, message = FOREIGN[case]
    with pytest.raises(InputError, match=f"^run/config.yaml: .*{message}"):
        refuse_unknown_components({**MODEL, **change}, "model", FILE)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "numpy.load"}, r"data\._target_=numpy\.load is no data"),
        ({"_target_": "reasonir.data.files.ratings.RatingColumns"}, "is no data"),
        ({"path": "x"}, r"data\._target_=None is no data"),
        ({**DATA, "columns": {"_target_": BACKBONE}}, r"data\.columns\._target_=.* is no part of the data"),
        ({**DATA, "sources": {"a": {"_target_": "torch.load"}}}, r"data\.sources\.a\._target_=torch\.load is no data"),
        ({**DATA, "sources": {"_target_": "reasonir.data.demo.Demo"}}, r"data\.sources\._target_"),
    ],
)
def test_what_no_run_saves_is_refused_in_data(node, message):
    with pytest.raises(InputError, match=message):
        refuse_unknown_components(node, "data", FILE)


def test_what_runs_save_passes(composed):
    for words in (
        ("model=minilm", "data=demo"),
        ("model=tiny", "model/head=gaussian", "data=beir", "data.path=x"),
        ("model=qwen_reranker", "loss=bce", "data=graded", "data.path=x"),
        ("model=random_qwen", "data=mixture", "+data@data.sources.a=demo", "+data@data.sources.b=open_provence"),
    ):
        config = composed("train", *words, "eval=demo", "hardware=cpu")
        refuse_unknown_components(plain_values(config.model), "model", FILE)
        refuse_unknown_components(plain_values(config.data), "data", FILE)


def test_trust_lets_everything_be_named_but_resolves_nothing():
    for change, message in FOREIGN.values():
        if "holds" not in message:
            refuse_unknown_components({**MODEL, **change}, "model", FILE, trust_remote_code=True)
    with pytest.raises(InputError, match="a saved configuration has plain values"):
        refuse_unknown_components({"path": "${oc.env:HOME}"}, "model", FILE, trust_remote_code=True)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A project with a head of its own; a function names what conf/ says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "quiet_head.py").write_text(
        "from reasonir.model.head.biencoder import BiEncoder\nclass Quiet(BiEncoder): ...\n"
    )
    (tmp_path / "conf" / "model" / "head").mkdir(parents=True)
    return (tmp_path / "conf" / "model" / "head" / "quiet.yaml").write_text


def test_a_users_own_class_is_known_where_his_conf_names_it(own):
    node = {**MODEL, "head": {"_target_": "quiet_head.Quiet.load", "_partial_": True}}
    with pytest.raises(
        InputError, match=r"quiet_head\.Quiet\.load is no head of reasonir.*conf/ of the working directory"
    ):
        refuse_unknown_components(node, "model", FILE)
    own("_target_: quiet_head.Quiet.load\n_partial_: true\n")
    refuse_unknown_components(node, "model", FILE)
    with pytest.raises(InputError, match="is no model"):
        refuse_unknown_components({**MODEL, "_target_": "quiet_head.Quiet.load"}, "model", FILE)


def test_a_conf_that_cannot_be_read_is_named(own):
    own("_target_: {quiet")
    with pytest.raises(InputError, match=r"quiet\.yaml can't be read as YAML"):
        component("quiet_head.Quiet.load")
    own("_target_: quiet_head.Loud.load")
    with pytest.raises(InputError, match=r"quiet_head\.Loud\.load can't be imported"):
        component("quiet_head.Loud.load")
