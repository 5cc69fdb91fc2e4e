"""Proof of a machine: parts one after the other, each within a time limit; after a failed one the rest goes on."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from reasonir.benchmarking.proof.parts import PARTS, Call, Machine
from reasonir.benchmarking.proof.record import FAILED, HELD, NOT_HERE, Record, Report, figures_of
from reasonir.benchmarking.setup import BenchParts
from reasonir.errors import InputError
from reasonir.hardware import best_accelerator
from reasonir.runs.environment import environment
from reasonir.utils.command_line import override

log = logging.getLogger(__name__)
PART_SECONDS, ALL_SECONDS = 9 * 60.0, 25 * 60.0
"""Limits of a part and of all parts of a command."""
_GRACE = 10.0
"""Seconds in which a process that is told to end may end in order."""


def prove(parts: BenchParts) -> tuple[dict[str, Any], dict[str, float]]:
    """Run parts of the proof; the report is written after each.

    Raises:
        InputError: a part failed, after all have run; the report is there.
    """
    machine = _machine(parts)
    report = Report.open(Path(parts.proof_folder), machine.card, shlex.join(parts.line), _environment(machine))
    deadline = time.monotonic() + ALL_SECONDS
    records = {}
    for name in [name for name in PARTS if parts.proof_parts is None or name in parts.proof_parts]:
        log.info("%s: %s", name, PARTS[name].claim)
        records[name] = run_part(name, machine, parts, deadline)
        report.add(name, records[name])
        log.info("%s: %s", name, records[name].summary)
    log.info("The report is %s", report.file)
    if failed := [f"{name}: {record.reason}" for name, record in records.items() if record.verdict == FAILED]:
        raise InputError("\n".join([f"{len(failed)} of {len(records)} parts of the proof failed:", *failed]))
    return report.document(), {f"bench/proof/{name}_s": record.seconds for name, record in records.items()}


def run_part(name: str, machine: Machine, parts: BenchParts, deadline: float) -> Record:
    """Run a part's calls, within the limit of a part and the deadline of all; after a failed one the others go on."""
    calls, remark = PARTS[name].calls(machine)
    if not calls:
        return Record(NOT_HERE, remark)
    started = time.monotonic()
    limit = min(PART_SECONDS, deadline - started)
    if limit < 1:
        return Record(FAILED, f"no time was left of {ALL_SECONDS / 60:.0f} minutes: run it by proof.parts=[{name}]")
    figures, faults = [], []
    for number, call in enumerate(calls):
        folder = parts.folder.absolute() / f"{name}-{number}"
        status = run_call(call, folder, seconds=started + limit - time.monotonic(), home=parts.home, tree=machine.tree)
        found, fault = figures_of(call, folder, status, limit)
        figures += [found] if found else []
        faults += [fault] if fault else []
        if status is None:
            break
    commands = [f"python -m {call.module} {shlex.join(call.arguments)}" for call in calls]
    reason = "; ".join(faults) or remark
    return Record(FAILED if faults else HELD, reason, time.monotonic() - started, commands, figures)


def run_call(call: Call, folder: Path, *, seconds: float, home: Path, tree: Path) -> int | None:
    """Run a command with its output in `<folder>/output.log`; return its exit status, None if it took too long.

    A command that takes too long, or whose caller is stopped, ends with all processes that it started.
    """
    folder.mkdir(parents=True)
    given = {
        "pytest": ["-q", "-p", "no:cacheprovider", "--rootdir", str(tree), f"--junitxml={folder / 'tests.xml'}"],
        "reasonir.bench": [override("hydra.run.dir", folder)],
    }[call.module]
    environment = {**os.environ, "REASONIR_HOME": str(home), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", call.module, *call.arguments, *given],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=tree if call.module == "pytest" else None,
            env=environment,
            process_group=0,
        )
        try:
            return process.wait(timeout=max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs and its group: in order, or else at once."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE)


def _machine(parts: BenchParts) -> Machine:
    import torch

    accelerator, peers = best_accelerator(), Path(parts.peers_python)
    if accelerator != "cuda":
        return Machine(_processor(), accelerator, 0.0, peers, parts.peak_tflops)
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return Machine(torch.cuda.get_device_name(0), accelerator, memory, peers, parts.peak_tflops)


def _processor() -> str:
    """Return the name of the processor as Linux knows it, or what the system says, or cpu."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "cpu"


def _environment(machine: Machine) -> dict[str, Any]:
    """Return the environment of a run, with memory, driver and the peers' versions."""
    import psutil
    import torch

    names = ("sentence-transformers", "transformers", "torch")
    script = f"from importlib.metadata import version; print(*(f'{{name}} {{version(name)}}' for name in {names}))"
    peers = [str(machine.peers_python), "-c", script]
    driver = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return {
        **environment(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "cuda": torch.version.cuda if machine.accelerator == "cuda" else None,
        "driver": _output(driver),
        "peers": _output(peers),
    }


def _output(command: list[str]) -> str | None:
    """Return the output of a program; None where it isn't installed or fails."""
    try:
        given = {**os.environ, "PYTHONPATH": ""}  # as the peers' processes have it
        return subprocess.run(command, capture_output=True, text=True, check=True, env=given).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
