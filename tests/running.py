"""Commands run as a user runs them, inside this process: same arguments, same exit status, same messages."""

import contextlib
import importlib
import io
import logging
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

SHORTER = ("model.head.query_length=32", "model.head.document_length=64")
"""Lengths of the tiny demo's ColBERT in tests: most of a run's time is spent on comparing its tokens."""


@dataclass
class Done:
    """Result of a command: exit status, output, and the folder it wrote."""

    status: int
    out: str
    err: str
    folder: Path | None


def run(command: str, *arguments: str, home: Path) -> Done:
    """Run `python -m reasonir.<command> <arguments>` with REASONIR_HOME=home."""
    main = importlib.import_module(f"reasonir.{command}").main
    if "experiment=demo_tiny" in arguments and not any(each.startswith(("model", "lengths.")) for each in arguments):
        arguments = (*arguments, *SHORTER)
    before = set((home / "outputs").glob("*")) if (home / "outputs").is_dir() else set()
    argv, sys.argv = sys.argv, [command, *arguments]
    environment, handlers = os.environ.get("REASONIR_HOME"), logging.getLogger().handlers[:]
    os.environ["REASONIR_HOME"] = str(home)
    if absl := sys.modules.get("absl.logging"):  # of openvino: it closes its stream if another sys.stderr replaced it
        absl.get_absl_handler().python_handler.stream = sys.__stderr__
    out, err, status = io.StringIO(), io.StringIO(), 0
    GlobalHydra.instance().clear()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            try:
                main()
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.argv = argv
        logging.getLogger().handlers[:] = handlers
        if environment is None:
            os.environ.pop("REASONIR_HOME")
        else:
            os.environ["REASONIR_HOME"] = environment
    new = sorted(set((home / "outputs").glob("*")) - before) if (home / "outputs").is_dir() else []
    return Done(status, out.getvalue(), err.getvalue(), new[-1] if new else None)


def start(command: str, *arguments: str, home: Path) -> subprocess.Popen[str]:
    """Start `python -m reasonir.<command> <arguments>` in a process of its own with REASONIR_HOME=home."""
    return subprocess.Popen(
        [sys.executable, "-m", f"reasonir.{command}", *arguments],
        env={**os.environ, "REASONIR_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def resumes_unless(folder: Path, changed: str, *, home: Path, steps: int) -> None:
    """Resume a run to `steps` steps, evaluate it on its held-out data, and check that `changed` is refused."""
    resumed = run("train", f"resume={folder}", f"trainer.max_steps={steps}", home=home)
    assert resumed.status == 0, resumed.err
    evaluated = run("evaluate", f"run={folder}", "eval=test_split", "logger=csv", "evaluation.baselines=[]", home=home)
    assert evaluated.status == 0, evaluated.err
    refused = run("train", f"resume={folder}", changed, home=home)
    assert refused.status == 2
    assert "mining= and teacher= now make" in refused.err
