"""Every part is made of tests and options that exist, and every GPU test is in one part."""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from reasonir.benchmarking.proof.parts import PARTS, Call, Machine
from reasonir.cli.arguments import config_errors
from reasonir.cli.check import _PROOF_PART
from reasonir.config import PACKAGE

HERE = Path(__file__)
MACHINES = {
    "cpu": Machine("Processor", "cpu", 0.0, Path("nowhere/python")),
    "cpu_with_peers": Machine("Processor", "cpu", 0.0, HERE),
    "mps": Machine("Apple M4", "mps", 0.0, Path("nowhere/python")),
    "t4": Machine("Tesla T4", "cuda", 15.0, Path("nowhere/python")),
    "h100": Machine("NVIDIA H100", "cuda", 79.0, HERE, 989.5),
}
CALLS = {
    name: [call for part in PARTS.values() for call in part.calls(machine)[0]] for name, machine in MACHINES.items()
}
BENCHMARKS = sorted({call.arguments for calls in CALLS.values() for call in calls if call.module == "reasonir.bench"})


def test_the_key_takes_the_parts_there_are():
    assert get_args(_PROOF_PART) == tuple(PARTS)


@pytest.mark.parametrize(
    "arguments", BENCHMARKS, ids=[f"{arguments[1]}-{number}" for number, arguments in enumerate(BENCHMARKS)]
)
def test_benchmarks_compose_and_bind(arguments):
    assert config_errors("bench", arguments) == []


@pytest.mark.parametrize("machine", MACHINES)
def test_every_part_has_calls_or_says_why_not_and_its_tests_exist(machine):
    for part in PARTS.values():
        calls, remark = part.calls(MACHINES[machine])
        assert calls or remark
    for arguments in [call.arguments for call in CALLS[machine] if call.module == "pytest"]:
        files = [argument for argument in arguments if argument.endswith(".py")]
        assert files
        assert all((PACKAGE.parent / file).is_file() for file in files)


def chosen(call: Call, file: Path) -> list[str]:
    """Return the GPU tests of a file that a call runs."""
    if file.relative_to(PACKAGE.parent).as_posix() not in call.arguments:
        return []
    words = call.arguments[call.arguments.index("-k") + 1] if "-k" in call.arguments else "test"
    found = []
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            expression = re.sub(r"\b(?!(?:not|or)\b)\w+", lambda word, name=node.name: str(word[0] in name), words)
            if eval(expression):
                found.append(node.name)
    return found


def test_every_gpu_test_is_in_one_part():
    gpu, packed = (PACKAGE.parent / "tests" / name for name in ("scenarios/test_gpu.py", "model/test_varlen.py"))
    calls = [call for part in PARTS.values() for call in part.calls(MACHINES["h100"])[0] if call.module == "pytest"]
    whole = chosen(Call("pytest", (gpu.relative_to(PACKAGE.parent).as_posix(),)), gpu)
    counted = Counter(name for call in calls for name in chosen(call, gpu))
    assert len(whole) > 5
    assert counted == Counter(whole)
    assert any("test_the_kernel_of_cuda_agrees" in chosen(call, packed) for call in calls)
    elsewhere = [file for file in (PACKAGE.parent / "tests").rglob("test_*.py") if "mark.gpu" in file.read_text()]
    assert {file for file in elsewhere if file != HERE} == {gpu, packed}


def test_a_cpu_runs_what_it_can():
    runs = [name for name, part in PARTS.items() if part.calls(MACHINES["cpu"])[0]]
    assert runs == ["agreement", "resume", "largest_batches", "speed", "mfu", "evaluation"]
    assert PARTS["gpu_tests"].calls(MACHINES["mps"]) == ([], "torch sees no NVIDIA GPU")


def test_a_stated_rate_reaches_the_benchmarks():
    for name, stated in (("h100", True), ("t4", False)):
        (call,) = PARTS["mfu"].calls(MACHINES[name])[0]
        assert ("peak_tflops=989.5" in call.arguments) == stated


def test_missing_peers_are_said_and_ours_are_timed():
    calls, remark = PARTS["speed"].calls(MACHINES["t4"])
    assert remark == ("there is no nowhere/python, so sentence-transformers 6.2 isn't compared (run make bench-peers)")
    assert [argument for call in calls for argument in call.arguments if argument.startswith("peers=")] == [
        "peers=colbert",
        "peers=biencoder",
    ]
    assert PARTS["speed"].calls(MACHINES["h100"])[1] == ""


@pytest.mark.parametrize("part", ["gpu_tests", "agreement", "out_of_memory", "resume"])
def test_an_installed_package_without_tests_says_so(tmp_path, part):
    calls, remark = PARTS[part].calls(Machine("NVIDIA H100", "cuda", 79.0, HERE, tree=tmp_path))
    assert calls == []
    assert (
        remark == "the tests are in the source tree, and this is an installed package: run it from a copy of the tree"
    )
