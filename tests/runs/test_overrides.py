"""The part of a saved command line that a run is resumed with: all that is data, nothing that decides what runs."""

from pathlib import Path

import pytest

from reasonir.errors import InputError
from reasonir.runs.overrides import resumed_command, saved_overrides
from reasonir.utils.state import seal, write_yaml

FILE = Path("run/.hydra/overrides.yaml")
DATA = [
    "model=minilm",
    "model/head=biencoder",
    "model@teacher.model=gte_reranker",
    "data.path=../rows.jsonl",
    "experiment=demo",
    "loss.temperature=0.5,1.0",
    "optim.head_lr=${model.lr}",
    "+tags.purpose='the hydra: a test'",
    "~model.config",
    "model.trust_remote_code=false",
    "seed=range(1,4)",
    "data.weights={hq: 2, facts: 1}",
]
CODE = [
    "loss._target_=torch.load",
    "+data.x={_target_: torch.load, f: x}",
    "+data.x=[{a: {_target_: torch.load}}]",
    "data._target_=reasonir.data.demo.Demo",
    "~model.head._partial_",
    "+model.lora._args_=[1]",
    "++loss._recursive_=false",
    "hydra.searchpath=[file://evil]",
    "+hydra.callbacks.x=1",
    "hydra/job_logging=evil",
    "~hydra.callbacks",
    "hydra.launcher.setup=[evil]",
    "hydra.launcher.partition=a\\ b",
    "hydra.sweeper.storage=sqlite:///evil",
    "hydra/launcher=../../evil",
    "+data@hydra.callbacks.x=demo",
    "loss=../../evil",
    "local=../../evil",
    "model/head=../evil",
    "trust_remote_code=true",
    "model.trust_remote_code=true",
    "++teacher.model.trust_remote_code=${seed}",
    "+model.head={trust_remote_code: true}",
    "data.path=${oc.env:HOME}",
    "loss=${oc.create:x}",
    "model.path=x${a}${b:c}",
]
SWEEP = [
    "-m",
    "--multirun",
    "hydra.mode=MULTIRUN",
    "hydra/launcher=joblib",
    "hydra/sweeper=optuna",
    "hydra.launcher.n_jobs=2",
    "hydra.launcher.partition=gpu",
    "hydra.launcher.timeout_min=720",
    "hydra.sweeper.sampler.seed=1",
    "hydra.sweeper.n_trials=20",
]


def resumed(saved, *given):
    found = resumed_command(saved, ["resume=run", *given], file=FILE, resume="run")
    assert found.pop(found.index("resume=run"))
    return found


def test_data_is_resumed():
    assert resumed(DATA) == DATA
    assert resumed(SWEEP) == SWEEP


@pytest.mark.parametrize("saved", CODE)
def test_what_decides_the_code_is_said_again(saved):
    with pytest.raises(InputError) as caught:
        resumed(["model=minilm", saved])
    message = str(caught.value)
    assert message.startswith(f"run/.hydra/overrides.yaml holds {saved}, which decides what code runs")
    assert "repeat it: python -m reasonir.train resume=run " in message
    assert resumed(["model=minilm", saved, "seed=1"], saved) == ["model=minilm", saved, "seed=1"]


def test_the_present_command_line_replaces_what_was_saved():
    saved = ["seed=1", "loss._target_=torch.load", "+tags.a=x", "model=minilm"]
    own = ["seed=2", "loss._target_=mine.Loss", "model=qwen"]
    assert resumed(saved, *own) == ["+tags.a=x", *own]


@pytest.mark.parametrize("flag", [["--config-dir", "evil"], ["--config-dir=evil"], ["-cd", "evil"], ["-cn=evil"]])
def test_flags_are_said_again(flag):
    joined = "=".join(flag)
    with pytest.raises(InputError, match=f"holds {joined}, which decides"):
        resumed(["-m", *flag, "seed=1,2"])
    assert resumed(["-m", "seed=1,2", *flag], joined) == ["-m", joined, "seed=1,2"]


def test_all_that_has_to_be_said_comes_at_once_as_a_shell_takes_it():
    with pytest.raises(InputError) as caught:
        resumed(["hydra.launcher.setup=[a b]", "seed=1", "trust_remote_code=true"])
    assert str(caught.value).endswith("resume=run 'hydra.launcher.setup=[a b]' trust_remote_code=true")


def test_what_is_no_override_is_named():
    with pytest.raises(InputError, match=r": a=\{ is no override"):
        resumed(["a={"])


@pytest.mark.parametrize(
    ("text", "message"),
    [("!!python/object/apply:open [x, w]", "can't be read as YAML"), ("seed: 1", "is no list"), ("", "is no list")],
)
def test_what_is_no_list_of_overrides_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "overrides.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"overrides\.yaml {message}"):
        saved_overrides(tmp_path / "overrides.yaml")
    assert not (tmp_path / "x").exists()
    (tmp_path / "overrides.yaml").write_text("- seed=1\n")
    assert saved_overrides(tmp_path / "overrides.yaml") == ["seed=1"]


@pytest.mark.parametrize("content", ["[]\n", "- model=tiny\n", ""])
def test_overrides_of_a_run_are_those_that_it_was_started_with(tmp_path, content):
    """An empty list would be another recipe."""
    file = tmp_path / ".hydra" / "overrides.yaml"
    file.parent.mkdir()
    file.write_text("- model=tiny\n- optim.lr=1e-5\n")
    seal(file)
    write_yaml(tmp_path / "config.yaml", {"model": {}})
    assert saved_overrides(file) == ["model=tiny", "optim.lr=1e-5"]
    file.write_text(content)
    with pytest.raises(InputError, match=r"overrides\.yaml isn't as it was written .*give them with resume="):
        saved_overrides(file)
