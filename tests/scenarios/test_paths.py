"""Homes, data and working folders with any characters in their names, and the commands that are printed there."""

import html
import json
import re
import shlex

import pytest

from reasonir.utils.command_line import override
from tests.running import SHORTER, run

NASTY = 'hö me, a=b [1] {x} #$~%20 it\'s "q" (?)&;'
TRAIN = ("experiment=demo_tiny", *SHORTER, "trainer.max_steps=2", "evaluation.baselines=[]", "logger=csv")


@pytest.fixture
def nasty(tmp_path, monkeypatch):
    (tmp_path / "work ü").mkdir()
    monkeypatch.chdir(tmp_path / "work ü")
    home = tmp_path / NASTY
    home.mkdir()
    return home


def pasted(text, *, home):
    """Run a printed command as a shell would."""
    assignment, python, _, module, *words = shlex.split(text)
    assert (assignment, python) == (f"REASONIR_HOME={home}", "python")
    return run(module.removeprefix("reasonir."), *words, home=home)


def test_every_command_of_a_report_works_where_it_was_made(nasty):
    done = run("train", *TRAIN, "run_name=../../x", override("+tags.note", "a b, c=ü"), home=nasty)
    assert done.status == 0, done.err
    assert done.folder.parent == nasty / "outputs"
    page = (done.folder / "report.html").read_text()
    commands = [html.unescape(each) for each in re.findall(r"<pre>(REASONIR_HOME=[^<]*)</pre>", page)]
    again, resume, evaluate = commands
    for command in (again, resume, evaluate.replace("eval=bright", "eval=demo")):
        repeated = pasted(command, home=nasty)
        assert repeated.status == 0, repeated.err


def test_data_is_read_and_printed_with_quotes(nasty):
    rows = [{"query": f"q{n}", "positive": f"p{n}", "negative": f"n{n}"} for n in range(4)]
    file = nasty / "rows, ä.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    wrong = run("prepare", "data=triplets", f"data.path={file}", home=nasty)
    assert wrong.status == 2
    (word,) = shlex.split(re.search(r"for the shell: (.*) \(", wrong.err)[1])
    done = run("prepare", "data=triplets", word, home=nasty)
    assert done.status == 0, done.err


def test_what_a_variable_holds_is_written_nowhere(tmp_path, monkeypatch):
    secret = "hunter2-of-the-tests"
    monkeypatch.setenv("A_KEY", secret)
    words = ("+tags.key=${oc.env:A_KEY}", "+tags.address=https://me:${oc.env:A_KEY}@host", "logger=mlflow")
    done = run("train", *(word for word in TRAIN if word != "logger=csv"), *words, home=tmp_path)
    assert done.status == 0, done.err
    assert secret not in done.out + done.err
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file
    assert "https://me:${oc.env:A_KEY}@host" in (done.folder / "config.yaml").read_text()
    refused = run("train", f"resume={done.folder}", home=tmp_path)
    assert refused.status == 2
    assert "python -m reasonir.train" in refused.err
    words = shlex.split(refused.err.split("python -m reasonir.train ")[1])
    assert run("train", *words, home=tmp_path).status == 0
