"""Training, evaluation and composition from Python."""

import csv
import json
import re
from dataclasses import FrozenInstanceError
from functools import wraps

import pytest
from lightning.pytorch.loggers import CSVLogger

import reasonir
from reasonir.commands.compose import TrainParts
from reasonir.errors import InputError
from reasonir.inference.retriever import Retriever
from tests.running import SHORTER, run

TINY = ("experiment=demo_tiny", *SHORTER, "evaluation.baselines=[]")


@pytest.fixture(scope="module")
def trained(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REASONIR_HOME", str(home))
        yield reasonir.train(*TINY, "trainer.max_steps=2", "logger=csv")


def test_a_run_is_what_the_command_makes(trained, home):
    done = run("train", *TINY, "trainer.max_steps=2", home=home)
    assert done.status == 0, done.err
    assert (
        json.loads((done.folder / "results.json").read_text())["results"]["demo"]["trained"] == trained.metrics["demo"]
    )
    weights = [folder / "model" / "model.safetensors" for folder in (trained.folder, done.folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert isinstance(trained.model, Retriever)
    assert (trained.folder / ".hydra" / "overrides.yaml").is_file()


def test_a_module_of_the_same_name_hides_nothing(trained, home, monkeypatch):
    import reasonir.evaluate
    import reasonir.train

    monkeypatch.setenv("REASONIR_HOME", str(home))
    again = reasonir.evaluate(f"run={trained.folder}", "evaluation.baselines=[]", "logger=csv")
    assert again.metrics["demo"] == trained.metrics["demo"]
    assert again.folder != trained.folder
    assert isinstance(again.model, Retriever)


def test_latest_is_the_newest_run(trained, home, monkeypatch):
    monkeypatch.setenv("REASONIR_HOME", str(home))
    newest = max(home.glob("outputs/*/config.yaml"), key=lambda file: file.stat().st_mtime_ns).parent
    found = reasonir.evaluate("run=latest", "evaluation.baselines=[]", "logger=csv")
    assert found.path == str(newest)


def test_latest_needs_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONIR_HOME", str(tmp_path))
    for command, key in (("evaluate", "run"), ("train", "resume")):
        with pytest.raises(InputError, match=f"{key}=latest: there is no training run in .*outputs"):
            getattr(reasonir, command)(f"{key}=latest")


def test_composition_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("REASONIR_HOME", str(tmp_path))
    parts = reasonir.compose("experiment=demo_tiny", "seed=2")
    assert isinstance(parts, TrainParts)
    assert (parts.seed, parts.hardware.name, parts.trainer.max_steps) == (2, "cpu", 8)
    assert parts.values["run_name"] == "demo_tiny"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FrozenInstanceError):
        parts.seed = 3


@pytest.mark.parametrize("function", [reasonir.compose, reasonir.train])
def test_all_mistakes_are_raised_together(function, tmp_path, monkeypatch):
    monkeypatch.setenv("REASONIR_HOME", str(tmp_path))
    with pytest.raises(InputError) as refused:
        function("experiment=demo_tiny", "modle=tiny", "optim.lr=x")
    assert "2 mistakes" in str(refused.value)
    assert "did you mean 'model'" in str(refused.value)


@pytest.mark.parametrize("given", ["-m", "dry_run=true", "probe=true"])
def test_what_gives_no_model_is_refused(given, home, monkeypatch):
    monkeypatch.setenv("REASONIR_HOME", str(home))
    with pytest.raises(InputError, match=r"python -m reasonir\.train"):
        reasonir.train(*TINY, given)


def test_a_users_own_logger_and_callback_take_part(home, tmp_path, monkeypatch):
    (tmp_path / "conf" / "logger").mkdir(parents=True)
    (tmp_path / "conf" / "callbacks").mkdir()
    (tmp_path / "conf" / "logger" / "mine.yaml").write_text(
        "_target_: reasonir.tracking.base.Loggers\n"
        "lightning:\n"
        "  table:\n"
        "    _target_: lightning.pytorch.loggers.CSVLogger\n"
        "    _partial_: true\n"
        "    name: table\n"
    )
    (tmp_path / "conf" / "callbacks" / "timer.yaml").write_text(
        "timer:\n  _target_: lightning.pytorch.callbacks.Timer\n  duration: '00:01:00:00'\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REASONIR_HOME", str(home))
    built, init = [], CSVLogger.__init__
    counted = wraps(init)(lambda self, *given, **named: built.append(init(self, *given, **named)))
    monkeypatch.setattr(CSVLogger, "__init__", counted)
    done = reasonir.train(*TINY, "trainer.max_steps=2", "logger=mine", "callbacks=timer")
    assert len(built) == 1
    (file,) = done.folder.rglob("table/*/metrics.csv")
    rows = list(csv.DictReader(file.open()))
    assert {"train/loss", "dev/ndcg_at_10", "eval/demo/ndcg_at_10"} <= set(rows[0])
    assert (done.folder / "metrics.csv").is_file()


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_a_logger_whose_library_is_missing_is_refused_before_any_work(logger, home, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    message = rf"logger\.lightning\.{logger}: .*: pip install 'reasonir\[{logger}\]'"
    done = run("train", *TINY, f"logger={logger}", home=home)
    assert done.status == 2
    assert re.search(message, done.err)
    assert not (done.folder / "metrics.csv").exists()
    done = run("evaluate", "model=tiny", "eval=demo", "hardware=cpu", f"logger={logger}", home=home)
    assert done.status == 2
    assert re.search(message, done.err)
    assert not (done.folder / "results.json").exists()


@pytest.mark.parametrize(
    "word", [5, None, ["model=tiny"], {"model": "tiny"}, b"model=tiny", "", " ", "seed=\ud800"], ids=ascii
)
def test_overrides_are_strings(word):
    for call in (reasonir.compose, reasonir.train, reasonir.evaluate):
        with pytest.raises(InputError, match=r"^overrides\[1\] is "):
            call("model=tiny", word)


@pytest.mark.parametrize("word", ["nonsense", "seed=[", "--help", "-m", "--cfg"])
def test_what_is_no_override_is_refused(word):
    for call in (reasonir.compose, reasonir.train, reasonir.evaluate):
        with pytest.raises(InputError):
            call(word)
