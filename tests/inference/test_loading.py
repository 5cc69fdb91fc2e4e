"""Loading a model from Python."""

import json
import subprocess
import sys

import pytest
import torch

import reasonir
from reasonir.errors import InputError
from tests.running import SHORTER, run

NEEDLESS = {"lightning", "hydra", "omegaconf", "mlflow"}
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
