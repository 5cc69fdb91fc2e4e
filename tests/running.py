"""Commands run as a user runs them, inside this process: same arguments, same exit status, same messages."""

import contextlib
import importlib
import io
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

SHORTER = ("model.head.query_length=32", "model.head.document_length=64")
"""What the tiny demo's ColBERT is told in tests: most of a run's time goes into comparing its tokens."""


@dataclass
class Done:
    """How a command ended: exit status, what it printed, the folder it wrote."""

    status: int
    out: str
    err: str
    folder: Path | None


def run(command: str, *arguments: str, home: Path) -> Done:
    """Run `python -m reasonir.<command> <arguments>` with REASONIR_HOME=home."""
    import os

    main = importlib.import_module(f"reasonir.{command}").main
    if "experiment=demo_tiny" in arguments and not any(each.startswith(("model", "lengths.")) for each in arguments):
        arguments = (*arguments, *SHORTER)
    before = set((home / "outputs").glob("*")) if (home / "outputs").is_dir() else set()
    argv, sys.argv = sys.argv, [command, *arguments]
    environment, handlers = os.environ.get("REASONIR_HOME"), logging.getLogger().handlers[:]
    os.environ["REASONIR_HOME"] = str(home)
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


def goes_on_unless(folder: Path, changed: str, *, home: Path, steps: int) -> None:
    """A run is resumed to so many steps and judged on what its source kept back, and not resumed with `changed`."""
    again = run("train", f"resume={folder}", f"trainer.max_steps={steps}", home=home)
    assert again.status == 0, again.err
    judged = run("evaluate", f"run={folder}", "eval=test_split", "logger=csv", "evaluation.baselines=[]", home=home)
    assert judged.status == 0, judged.err
    other = run("train", f"resume={folder}", changed, home=home)
    assert other.status == 2
    assert "mining= and teacher= now make" in other.err
