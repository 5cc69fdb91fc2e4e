"""Heads describe themselves: their names, losses and checkpoints, as all other parts use them."""

import subprocess
import sys

import pytest
from hydra.utils import get_object

from reasonir.config import CONF, loss_of
from reasonir.errors import InputError
from reasonir.model.export import export
from reasonir.model.head.recognise import head_of, heads
from tests.helpers import HEADS, load


def test_every_option_of_the_group_is_a_head_of_that_name(composed):
    options = sorted(file.stem for file in (CONF / "model" / "head").glob("*.yaml"))
    assert sorted(head.name for head in heads()) == options
    for option in options:
        target = composed("train", "model=tiny", f"model/head={option}").model.head._target_
        assert get_object(target).__self__.name == option


def test_derived_heads_are_tried_before_their_base():
    classes = heads()
    for index, head in enumerate(classes):
        assert not any(issubclass(later, head) for later in classes[index + 1 :])


@pytest.mark.parametrize("head", HEADS)
def test_an_export_is_recognised_by_its_files(head, request, tmp_path):
    checkpoint = request.getfixturevalue("decoder" if head == "yes_no" else "bert")
    export(load(checkpoint, head), tmp_path / "model")
    assert head_of(tmp_path / "model") is HEADS[head]


def test_a_plain_encoder_has_no_head(bert):
    with pytest.raises(InputError, match="has no recognisable head"):
        head_of(bert)


def test_names_of_registered_models_are_stable():
    """MLflow registers versions of a model as `<data>-<head>`: renaming a head loses its earlier ones."""
    assert {head.__name__: f"demo-{head.name}" for head in heads()} == {
        "BiEncoder": "demo-biencoder",
        "ColBERT": "demo-colbert",
        "CrossEncoder": "demo-cross_encoder",
        "Gaussian": "demo-gaussian",
        "Provence": "demo-provence",
        "Splade": "demo-splade",
        "YesNo": "demo-yes_no",
    }


def test_a_heads_loss_is_the_one_that_its_class_names():
    assert {head.name: loss_of(head.name) for head in heads()} == {head.name: head.default_loss for head in heads()}


def test_a_heads_loss_is_read_without_torch():
    code = "import sys; from reasonir.config import loss_of; print(loss_of('gaussian'), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["gaussian", "False"]


def test_a_users_own_head_brings_its_loss(tmp_path, monkeypatch):
    folder = tmp_path / "conf" / "model" / "head"
    folder.mkdir(parents=True)
    for name, line in (("asks", '    default_loss = "bce"\n'), ("plain", "    pass\n")):
        (tmp_path / f"{name}_head.py").write_text(f"class Own:\n{line}")
        (folder / f"{name}.yaml").write_text(f"_target_: {name}_head.Own.load\n")
    (folder / "lost.yaml").write_text("_target_: not_here.heads.Own.load\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [loss_of(name) for name in ("asks", "plain", "lost")] == ["bce", *["cached_contrastive"] * 2]
