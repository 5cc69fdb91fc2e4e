"""A proof goes on after a failing part, keeps to its limits, and leaves no process behind."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from reasonir.benchmarking.proof import parts, run
from reasonir.benchmarking.proof.parts import PARTS, Call, Machine, Part
from tests.running import run as command

TESTS = {
    "passing.py": "def test_one(record_property):\n    record_property('difference', 0.25)\n\ndef test_two(): pass\n",
    "failing.py": "def test_one(): pass\n\ndef test_two(): assert False\n",
    "hanging.py": """
import subprocess, sys, time
from pathlib import Path

def test_one():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(__file__).with_name("child").write_text(str(child.pid))
    time.sleep(600)
""",
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree of small tests; parts of the proof that run one each."""
    for name, text in TESTS.items():
        (tmp_path / name).write_text(text)

    def part(*files, remark=""):
        return Part("Something holds.", lambda machine: ([Call("pytest", (file,)) for file in files], remark))

    for name in PARTS:
        monkeypatch.setitem(PARTS, name, part(remark="there is no such card"))
    monkeypatch.setitem(PARTS, "agreement", part("passing.py", "failing.py", "passing.py"))
    monkeypatch.setitem(PARTS, "resume", part("passing.py", remark="here alone"))
    monkeypatch.setitem(PARTS, "mfu", part("passing.py", "hanging.py"))
    machine = Machine("Card (R) 1.5 | X", "cpu", 0.0, Path("nowhere"), tree=tmp_path)
    monkeypatch.setattr(run, "_machine", lambda _: machine)
    return tmp_path


def proven(tree, home, *given):
    done = command("bench", "mode=proof", "model=tiny", f"proof.folder={tree / 'proof'}", *given, home=home)
    (file,) = (tree / "proof").glob("*.json")
    assert file.name == f"card-1-5-x-{time.strftime('%Y-%m-%d')}.json"
    assert {each.suffix for each in (tree / "proof").iterdir()} == {".json", ".md"}
    return done, json.loads(file.read_text()), file.with_suffix(".md").read_text()


def test_a_failing_part_is_recorded_and_the_rest_goes_on(tree, home):
    done, document, text = proven(tree, home, "proof.parts=[resume,agreement,gpu_tests]")
    assert done.status == 2
    assert "1 of 3 parts of the proof failed:\nagreement: 1 of 2 tests failed: test_two" in done.err
    records = document["parts"]
    assert list(records) == ["gpu_tests", "agreement", "resume"]
    assert [record["verdict"] for record in records.values()] == ["not run here", "failed", "held"]
    assert records["gpu_tests"]["reason"] == "there is no such card"
    assert [figures["tests"]["failed"] for figures in records["agreement"]["figures"]] == [0, 1, 0]
    assert records["agreement"]["figures"][0]["tests"]["largest"] == {"difference": 0.25}
    assert len(records["agreement"]["commands"]) == 3
    assert records["resume"]["seconds"] > 0
    assert text.startswith(f"# Proof: Card (R) 1.5 | X, {time.strftime('%Y-%m-%d')}\n")
    assert "1 held, 1 failed, 1 not run here" in text
    assert "| largest difference | 2.5e-01 |" in text
    assert "proof.parts=[resume,agreement,gpu_tests]" in text


def test_parts_of_several_commands_make_one_report(tree, home, monkeypatch):
    proven(tree, home, "proof.parts=[resume,agreement]")
    monkeypatch.setitem(PARTS, "agreement", PARTS["resume"])
    done, document, _ = proven(tree, home, "proof.parts=[agreement]")
    assert done.status == 0, done.err
    assert [record["verdict"] for record in document["parts"].values()] == ["held", "held"]
    assert "[resume,agreement]" in document["parts"]["resume"]["command"]
    assert "[agreement]" in document["parts"]["agreement"]["command"]
    figures = json.loads((done.folder / "bench.json").read_text())
    assert figures["parts"].keys() == {"agreement", "resume"}


def test_a_part_that_takes_too_long_is_ended_with_its_processes(tree, home, monkeypatch):
    real, child = run.subprocess.Popen.wait, tree / "child"

    def until_the_child_runs(process, timeout=None):
        if "hanging.py" in process.args and timeout > 60:
            while not (child.is_file() and child.read_text()):
                time.sleep(0.05)
            raise subprocess.TimeoutExpired(process.args, timeout)
        return real(process, timeout=timeout)

    monkeypatch.setattr(run.subprocess.Popen, "wait", until_the_child_runs)
    done, document, _ = proven(tree, home, "proof.parts=[mfu,evaluation]")
    assert done.status == 2
    assert document["parts"]["mfu"]["reason"] == "took longer than 540 s"
    assert document["parts"]["mfu"]["figures"][0]["tests"]["passed"] == 2
    assert document["parts"]["evaluation"]["verdict"] == "not run here"
    number = int(child.read_text())
    assert not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


def test_all_parts_together_have_a_limit(tree, home, monkeypatch):
    monkeypatch.setattr(run, "ALL_SECONDS", 0.0)
    done, document, _ = proven(tree, home, "proof.parts=[gpu_tests,resume]")
    assert done.status == 2
    assert document["parts"]["gpu_tests"]["verdict"] == "not run here"
    assert document["parts"]["resume"]["reason"] == ("no time was left of 0 minutes: run it by proof.parts=[resume]")


def test_a_damaged_report_is_refused_before_the_work(tree, home):
    (tree / "proof").mkdir()
    file = tree / "proof" / f"card-1-5-x-{time.strftime('%Y-%m-%d')}.json"
    file.write_text('{"parts":')
    done = command("bench", "mode=proof", "model=tiny", f"proof.folder={tree / 'proof'}", home=home)
    assert done.status == 2
    assert f"{file}" in done.err
    assert "delete it, or set another proof.folder" in done.err
    assert file.read_text() == '{"parts":'


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("proof.parts=[speeed]", "choose gpu_tests, agreement, out_of_memory"),
        ("proof.parts=[]", "proof.parts=[]: give 1 or more values"),
        ("proof.folder=''", "proof.folder"),
    ],
)
def test_invalid_options_are_refused(home, given, message):
    done = command("bench", "mode=proof", given, home=home)
    assert done.status == 2
    assert message in done.err


def test_a_refused_benchmark_gives_its_reason(home, tmp_path):
    call = Call("reasonir.bench", ("model=tiny", "mode=max_batch", "workload=medquad"))
    status = run.run_call(call, tmp_path / "it's a folder", seconds=900, home=home, tree=tmp_path)
    assert status == 2
    _, fault = run.figures_of(call, tmp_path / "it's a folder", status, 900)
    assert fault.startswith("mode=max_batch would use all memory of this cpu: set max_batch.max_queries=")


def test_versions_of_the_peers_are_those_of_their_processes(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "ours")
    assert run._output([sys.executable, "-c", "import os; print(repr(os.environ['PYTHONPATH']))"]) == "''"
    assert run._output(["nowhere/python", "-c", ""]) is None
    assert run._output([sys.executable, "-c", "1 / 0"]) is None


@pytest.mark.slow
def test_a_small_proof_holds_on_a_cpu(home, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_size", lambda _: (("model=random_qwen_tiny",), 4, 64))
    given = ("proof.parts=[largest_batches,speed,mfu,evaluation]", "peers_python=nowhere")
    done = command("bench", "mode=proof", f"proof.folder={tmp_path}", *given, home=home)
    assert done.status == 0, done.err
    (file,) = tmp_path.glob("*.json")
    records = json.loads(file.read_text())["parts"]
    assert {name: record["verdict"] for name, record in records.items()} == dict.fromkeys(records, "held")
    assert list(records) == ["largest_batches", "speed", "mfu", "evaluation"]
    text = file.with_suffix(".md").read_text()
    for words in ("pylate_cached", "sentence_transformers_cached", "MFU", "documents/s", "Largest batch"):
        assert words in text
