"""Loading a model from Python."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

import reasonir
from reasonir.errors import InputError
from reasonir.hardware import best_accelerator
from reasonir.model.export import export
from tests.helpers import load
from tests.running import SHORTER, run

NEEDLESS = {"lightning", "hydra", "omegaconf", "mlflow"}
NO_TOKENIZER = "can't be opened: (Couldn't instantiate the backend tokenizer|Unrecognized processing class)"
SCRIPT = (
    "import json, sys, reasonir; reasonir.load(sys.argv[1]); "
    "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
)


@pytest.fixture(scope="module")
def trained(home):
    done = run(
        "train",
        "experiment=demo_tiny",
        *SHORTER,
        "trainer.max_steps=1",
        "evaluation.baselines=[]",
        "logger=mlflow",
        home=home,
    )
    assert done.status == 0, done.err
    return done.folder


@pytest.mark.parametrize("name", ["the run", "its export"])
def test_loading_imports_nothing_of_training(trained, name):
    path = trained if name == "the run" else trained / "model"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    assert "torch" in imported
    assert not imported & NEEDLESS


def test_a_run_is_found_by_its_id(trained, home, monkeypatch):
    monkeypatch.setenv("REASONIR_HOME", str(home))
    model = reasonir.load((trained / "run_id").read_text())
    texts = ["Bees dance.", "A lever trades distance for force."]
    expected = reasonir.load(trained).encode(texts, "document")
    assert torch.equal(model.encode(texts, "document").values_TD, expected.values_TD)
    with pytest.raises(InputError, match=f"{'0' * 32}: no run in .* has this id: give the run's folder"):
        reasonir.load("0" * 32)


@pytest.fixture(scope="module")
def exported(bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    export(load(bert, "biencoder"), folder)
    return folder


@pytest.mark.parametrize("device", ["auto", "cpu", "cpu:0", torch.device("cpu")])
def test_a_device_is_named_or_chosen(exported, device):
    expected = torch.device(best_accelerator() if device == "auto" else device).type
    assert reasonir.load(exported, device=device).encoder.device.type == expected


@pytest.mark.parametrize("device", ["cuda:99", "meta", "gpu", "", None, 0, "cpu,cuda"])
def test_devices_that_do_not_exist_are_refused(exported, device):
    with pytest.raises(InputError, match=r"^device=.* can't be used .*: give auto, cpu, cuda or mps"):
        reasonir.load(exported, device=device)


def _drop(folder, name):
    (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: not valid JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), "can't be opened: Unrecognized model"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), f"(has a damaged file|{NO_TOKENIZER})"),
        (lambda folder: _drop(folder, "tokenizer.json"), NO_TOKENIZER),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"abc"), "has a damaged file"),
    ],
)
def test_damaged_checkpoints_are_refused_by_name(exported, tmp_path, damage, message):
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    _drop(folder, "reasonir.json")  # otherwise the manifest finds it
    damage(folder)
    with pytest.raises(InputError, match=f"{folder}.*{message}"):
        reasonir.load(folder)
