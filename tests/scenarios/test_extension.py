"""docs/extending.md as it stands: a head, a loss, a source and an evaluation of a user's own, and nothing else."""

import json
import re
import sys
from pathlib import Path

import pytest

import reasonir
from reasonir.errors import InputError
from tests.running import run

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def blocks():
    """The files that the page shows, by name, and its last command's arguments."""
    text = PAGE.read_text()
    files = dict(re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL))
    (command,) = re.findall(r"^```bash\npython -m reasonir.train (.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return files, command.replace("\\\n", " ").split()


def opens_by_its_owners_word(folder, project, home, monkeypatch):
    """A run with a head and data of its own: known where conf/ names them, and elsewhere where it is trusted."""
    words = (f"run={folder}", "hardware=cpu", "logger=csv", "evaluation.baselines=[]", "eval=demo")
    assert type(reasonir.load(folder).encoder.head).__name__ == "Loud"
    assert json.loads((folder / "model" / "reasonir.json").read_text())["model"]["head"] == "loud"
    judged = run("evaluate", *words, home=home)
    assert judged.status == 0, judged.err
    monkeypatch.chdir(home)
    with pytest.raises(InputError, match=r"model\.head\._target_=loud_head\.Loud\.load is no head of reasonir"):
        reasonir.load(folder)
    refused = run("evaluate", *words, home=home)
    assert refused.status == 2
    assert "give trust_remote_code=true" in refused.err
    assert type(reasonir.load(folder, trust_remote_code=True).encoder.head).__name__ == "Loud"
    trusted = run("evaluate", *words, "trust_remote_code=true", home=home)
    assert trusted.status == 0, trusted.err
    monkeypatch.chdir(project)


def test_a_run_is_composed_of_a_users_own_parts(tmp_path, monkeypatch, home):
    files, given = blocks()
    for name, content in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        done = run("train", *given, home=home)
        assert done.status == 0, done.err
        logged = (done.folder / "metrics.csv").read_text()
        assert "train/gap" in logged
        results = json.loads((done.folder / "results.json").read_text())["results"]["counted"]
        assert set(results) == {"random", "bm25", "untrained", "trained"}
        assert results["trained"]["found"] == 12
        sharp = run("train", "model=tiny", "loss=sharp", "--cfg", "job", "--package", "loss", home=home)
        assert "temperature: 0.02" in sharp.out
        opens_by_its_owners_word(done.folder, tmp_path, home, monkeypatch)
        wrong = run("train", *given, "loss.strenght=1", home=home)
        assert wrong.status == 2
        assert "did you mean 'strength'" in wrong.err
    finally:
        for name in ("loud_head", "pull_loss", "count_data", "count_eval"):
            sys.modules.pop(name, None)
