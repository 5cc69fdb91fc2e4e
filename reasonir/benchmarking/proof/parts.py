"""Parts of a proof: which tests and benchmarks show what, in sizes for the machine.

Every part calls commands that exist without it, pytest on a choice of tests or `reasonir.bench` in another mode; each
test with the marker `gpu` is in one part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from reasonir.config import PACKAGE
from reasonir.utils.command_line import override

_CARD_GIB = 15
"""GPU memory that the search of largest batches may use, in GiB: that of a T4."""
_LARGE_GIB = 40
"""GPU memory from which on steps are larger, in GiB."""
_MINI_BATCH = 8
"""Texts of a peer's mini-batch."""
_MINILM = ("layers=6", "hidden=384", "heads=12", "kv_heads=12", "head_dim=32", "intermediate=1024")
_GPU, _PACKED = "tests/scenarios/test_gpu.py", "tests/model/test_varlen.py"
_AGREEMENT = "gradients_of_the_cpu or losses_and_metrics_of_the_cpu"
_MEMORY, _RESUMED = "card_out_of_memory", "resumed_run_ends_with_the_same_bits"


@dataclass(frozen=True, slots=True)
class Machine:
    """What a proof runs on.

    Attributes:
        card: name of the GPU, or of the processor.
        accelerator: cuda, mps or cpu.
        memory_gib: memory of the GPU; 0 without one.
        peers_python: interpreter with sentence-transformers 6.2.
        peak_tflops: the user's rate of the device; None for that of its data sheet.
        tree: folder of the package's source, where tests are.
    """

    card: str
    accelerator: str
    memory_gib: float
    peers_python: Path
    peak_tflops: float | None = None
    tree: Path = PACKAGE.parent

    @property
    def cuda(self) -> bool:
        """True on an NVIDIA GPU."""
        return self.accelerator == "cuda"

    @property
    def untested(self) -> str:
        """Reason why tests can't run; empty if they can."""
        if not (self.tree / _GPU).is_file():
            return "the tests are in the source tree, and this is an installed package: run it from a copy of the tree"
        return "" if find_spec("pytest") else "pytest isn't installed: pip install pytest"


@dataclass(frozen=True, slots=True)
class Call:
    """Command of a part: `python -m <module> <arguments>`.

    Attributes:
        module: pytest, or reasonir.bench.
        arguments: of the command.
        figure: that every peer's results must have; empty for none.
    """

    module: str
    arguments: tuple[str, ...]
    figure: str = ""


Calls = tuple[Sequence[Call], str]
"""A part's commands on a machine and a remark; without commands it says why there are none."""
_NO_GPU: Calls = ([], "torch sees no NVIDIA GPU")


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a proof.

    Attributes:
        claim: what holds if its commands succeed.
        calls: returns its commands on a machine.
    """

    claim: str
    calls: Callable[[Machine], Calls]


def _size(machine: Machine) -> tuple[tuple[str, ...], int, int]:
    """Return the overrides of the model, the queries of a step, and the tokens of a document."""
    if machine.cuda:
        return ("model=random_qwen",), *((32, 1024) if machine.memory_gib >= _LARGE_GIB else (16, 512))
    return ("model=random_qwen_tiny", *(f"model.{key}" for key in _MINILM)), 4, 256


def _bench(machine: Machine, head: str, *arguments: str, queries: int | None = None, figure: str = "") -> Call:
    """Return a benchmark of a head in the machine's size."""
    model, batch_size, length = _size(machine)
    lengths = (
        (f"model.head.document_length={length}",)
        if head == "colbert"
        else ("model.head.pooling=lasttoken", f"model.head.max_length={length}")
    )
    given = (*model, f"model/head={head}", *lengths, f"batch_size={queries or batch_size}")
    if machine.peak_tflops:
        given += (f"peak_tflops={machine.peak_tflops}",)
    return Call("reasonir.bench", ("hardware=auto", *given, *arguments), figure)


def _without(*peers: str) -> tuple[str, ...]:
    return tuple(f"~peers.{name}" for name in peers)


def _tests(marker: str, *arguments: str) -> Call:
    return Call("pytest", ("-m", marker, *arguments))


def _gpu_tests(machine: Machine) -> Calls:
    others = f"not ({_AGREEMENT} or {_MEMORY} or {_RESUMED})"
    return _if_testable(machine, _tests("gpu", "-k", others, _GPU)) if machine.cuda else _NO_GPU


def _agreement(machine: Machine) -> Calls:
    if machine.cuda:
        return _if_testable(machine, _tests("not slow", _PACKED), _tests("gpu", "-k", _AGREEMENT, _GPU))
    call = _tests("not slow and not gpu", _PACKED, "tests/engine/test_step.py")
    return _if_testable(machine, call, remark="on the CPU alone: packed against padded")


def _out_of_memory(machine: Machine) -> Calls:
    return _if_testable(machine, _tests("gpu", "-k", _MEMORY, _GPU)) if machine.cuda else _NO_GPU


def _resume(machine: Machine) -> Calls:
    if machine.cuda:
        return _if_testable(machine, _tests("gpu", "-k", _RESUMED, _GPU))
    call = _tests("not slow and not gpu", "-k", "goes_on_bit_for_bit", "tests/commands/test_train.py")
    return _if_testable(machine, call)


def _if_testable(machine: Machine, *calls: Call, remark: str = "") -> Calls:
    return ([], machine.untested) if machine.untested else (calls, remark)


def _largest_batches(machine: Machine) -> Calls:
    most = (16 if machine.cuda else 2) * _size(machine)[1]
    given = ("mode=max_batch", "peers=biencoder", "workload=medquad", f"max_batch.max_queries={most}")
    left_out = _without("reasonir_recomputing", "sentence_transformers", "sentence_transformers_cached")
    call = _bench(machine, "biencoder", *given, f"memory_cap_gib={_CARD_GIB}", *left_out)
    capped = "" if machine.cuda else "; without an NVIDIA GPU memory isn't capped, so that more would fit"
    return [call], f"the search ends at {most} queries{capped}"


def _speed(machine: Machine) -> Calls:
    """Compare with small mini-batches: of 32 long texts, a peer's graph outgrows 80 GB."""
    newest = machine.peers_python.is_file()
    suffix = "_peers" if newest else ""
    calls = []
    for head, peer in (("colbert", "pylate"), ("biencoder", "sentence_transformers")):
        given = [
            f"peers={head}{suffix}",
            "workload=medquad",
            "repeats=2",
            *_without("reasonir_recomputing", "uncached", peer),
        ]
        given += [f"peers.{peer}_cached.mini_batch_size={_MINI_BATCH}"]
        if newest:
            given += [override("peers_python", machine.peers_python)]
            given += [f"peers.sentence_transformers_6_cached.mini_batch_size={_MINI_BATCH}"]
        calls.append(_bench(machine, head, *given))
    missing = f"there is no {machine.peers_python}, so sentence-transformers 6.2 isn't compared (run make bench-peers)"
    return calls, "" if newest else missing


def _mfu(machine: Machine) -> Calls:
    _, queries, length = _size(machine)
    others = _without("reasonir_recomputing", "uncached", "sentence_transformers", "sentence_transformers_cached")
    given = ("peers=biencoder", "workload=even", f"workload.documents=[{length}]", "repeats=5", *others)
    return [_bench(machine, "biencoder", *given, queries=2 * queries, figure="mfu")], ""


def _evaluation(machine: Machine) -> Calls:
    queries = 128 if machine.cuda else 32
    given = ("mode=evaluation", "workload=medquad", "negatives=3")
    return [_bench(machine, head, *given, queries=queries) for head in ("colbert", "biencoder")], ""


PARTS = {
    "gpu_tests": Part("Tests that need a GPU pass: mixed precision, dropout under recomputation.", _gpu_tests),
    "agreement": Part("Packed, padded and CPU results agree: hidden states, losses, gradients.", _agreement),
    "out_of_memory": Part("A run whose step doesn't fit the card goes on, with the same losses.", _out_of_memory),
    "resume": Part("A resumed run ends with the bits of one that wasn't interrupted.", _resume),
    "largest_batches": Part("The largest batch of a step is found.", _largest_batches),
    "speed": Part("The peers' losses and gradients are equal; the times of a step are in the table.", _speed),
    "mfu": Part("The share of the device's peak rate that a step's useful operations take is known.", _mfu),
    "evaluation": Part("The device's scores are those of the CPU; the rates are in the table.", _evaluation),
}
"""Parts by name, in their order."""
