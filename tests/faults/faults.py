"""Commands in processes that are killed at a chosen write, run out of disk, or start at the same moment.

A process is forked from this one, which has imported everything: a command takes seconds instead of half a minute.
"""

import importlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reasonir.utils.files import sha256

for name in (
    "train",
    "evaluate",
    "search",
    "mine",
    "prepare",
    "commands.train",
    "commands.evaluate",
    "commands.search",
):
    importlib.import_module(f"reasonir.{name}")
for name in ("mlflow", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store", "datasets", "bm25s", "matplotlib"):
    importlib.import_module(name)

SMALL = (
    *("experiment=demo_tiny", "model/head=biencoder", "data.variants=1", "loader.sample_size=32", "loader.workers=0"),
    *("trainer.max_steps=4", "checkpoint.every_n_steps=2", "dev_eval.every_n_steps=2"),
    *("model.head.max_length=16", "trainer.max_epochs=2", "evaluation.baselines=[random]", "logger=mlflow"),
)
"""A training run of four steps with every stage."""
_WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile")


@dataclass
class Tally:
    """Count of the tried cases, and the lost ones with what went wrong."""

    what: str
    tried: int = 0
    lost: list[str] = field(default_factory=list)

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Count a case, lost if the block asserts something that doesn't hold."""
        self.tried += 1
        try:
            yield
        except AssertionError as error:
            self.lost.append(f"{name}: {error}")

    def done(self) -> None:
        """Print the figures, and fail if a case was lost."""
        print(f"\n{self.what}: {self.tried} tried, {self.tried - len(self.lost)} held, {len(self.lost)} lost")
        assert not self.lost, "\n\n".join(self.lost)


@dataclass
class Started:
    """A command that was started.

    Attributes:
        pid: of its process.
        output: file with its standard output and error.
    """

    pid: int
    output: Path

    def wait(self, seconds: float = 300) -> int:
        """Return the exit status, negative for a signal; a process that hangs is killed."""
        deadline = time.monotonic() + seconds
        while (ended := os.waitpid(self.pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.02)
        return os.waitstatus_to_exitcode(ended[1])

    @property
    def said(self) -> str:
        """What it printed."""
        return self.output.read_text(errors="replace")


def start(home: Path, output: Path, command: str, *words: str, before: Callable[[], None] = lambda: None) -> Started:
    """Start `python -m reasonir.<command> <words>`; `before` runs in its process first."""
    pid = os.fork()
    if pid:
        return Started(pid, output)
    status = 1
    try:
        os.setpgrp()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stream = output.open("w", buffering=1)
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        sys.stdout = sys.stderr = sys.__stderr__ = stream
        os.environ["REASONIR_HOME"] = str(home)
        sys.argv = [f"reasonir.{command}", *words]
        before()
        try:
            importlib.import_module(f"reasonir.{command}").main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            importlib.import_module("traceback").print_exc()
        stream.flush()
    finally:
        os._exit(status)


def killing(home: Path, number: int) -> Callable[[], None]:
    """Return what makes a process kill itself before its `number`-th write below `home` or to a database."""
    return lambda: _count_writes(home, lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == number else None)


def counting(home: Path, file: Path) -> Callable[[], None]:
    """Return what makes a process note in `file` how many writes it did."""
    return lambda: (
        _count_writes(home, lambda count: os.pwrite(out, b"%9d" % count, 0))
        if (out := os.open(file, os.O_CREAT | os.O_WRONLY))
        else None
    )


def _count_writes(home: Path, noted: Callable[[int], object]) -> None:
    from sqlalchemy import Engine, event

    count, root = 0, str(home)

    def write() -> None:
        nonlocal count
        count += 1
        noted(count)

    def audit(name: str, details: tuple[object, ...]) -> None:
        opened = name == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if (opened or name in _WRITES) and str(details[0]).startswith(root):
            write()

    @event.listens_for(Engine, "before_cursor_execute")
    def statement(connection, cursor, text, *rest) -> None:
        if text.startswith(("INSERT", "UPDATE", "DELETE")):
            write()

    event.listen(Engine, "commit", lambda connection: write())
    sys.addaudithook(audit)


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Callable[[int], None]]:
    """Mount a file system of `kib` KiB at `folder`; yield what changes its size. Skips where that isn't permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "reasonir-test", str(folder)]
    mounted = subprocess.run(options, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield lambda now: subprocess.run(["mount", "-o", f"remount,size={now}k", str(folder)], check=True) and None
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def check(holds: object, says: str) -> None:
    """Raise an AssertionError that says only `says`, unless something holds."""
    if not holds:
        raise AssertionError(says)


def result(home: Path) -> dict[str, object]:
    """Return what a command leaves that must not depend on a fault: weights, figures, rankings, sets and answers."""
    weights = [sha256(file) for file in sorted(home.glob("outputs/*/model/model.safetensors"))]
    results = [json.loads(file.read_text())["results"] for file in sorted(home.glob("outputs/*/results.json"))]
    rankings = [file.read_text() for file in sorted(home.glob("outputs/*/runs/*.trec"))]
    sets = {file.parent.name: json.loads(file.read_text())["arrow"] for file in home.glob("data/*/manifest.json")}
    hits = [file.read_text() for file in sorted(home.glob("outputs/*/results.jsonl"))]
    return {"weights": weights, "results": results, "rankings": rankings, "sets": sets, "hits": hits}


def record(home: Path) -> list[tuple[object, ...]]:
    """Return what MLflow has of all runs, without ids, times and the home's path, in a fixed order."""
    queries = {
        "run": "SELECT name, status, lifecycle_stage FROM runs",
        "point": "SELECT name, key, step, CASE WHEN key LIKE 'train/%' AND key NOT IN "
        "('train/loss', 'train/accuracy', 'train/lr', 'train/grad_norm', 'train/max_score') THEN 0 ELSE value END "
        "FROM metrics JOIN runs USING (run_uuid) WHERE key NOT LIKE 'system/%'",
        "latest": "SELECT name, key, step FROM latest_metrics JOIN runs USING (run_uuid) WHERE key NOT LIKE 'system/%'",
        "param": "SELECT name, key, value FROM params JOIN runs USING (run_uuid)",
        "tag": "SELECT name, key FROM tags JOIN runs USING (run_uuid)",
        "input": "SELECT source_type, destination_type FROM inputs",
        "dataset": "SELECT name, digest FROM datasets",
        "input tag": "SELECT name, value FROM input_tags",
        "model": "SELECT name, status, lifecycle_stage FROM logged_models WHERE lifecycle_stage = 'active'",
        "version": "SELECT name, version FROM model_versions",
        "alias": "SELECT name, alias, version FROM registered_model_aliases",
        "experiment": "SELECT name, lifecycle_stage FROM experiments",
    }
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        rows = [(kind, *row) for kind, query in queries.items() for row in connection.execute(query)]
    return sorted(
        (tuple(part.replace(str(home), "") if isinstance(part, str) else part for part in row) for row in rows),
        key=repr,
    )


def differences(expected: list[tuple[object, ...]], found: list[tuple[object, ...]]) -> str:
    """Return what is missing and what there is too much, empty for equal records."""
    missing, extra = list(expected), []
    for row in found:
        if row in missing:
            missing.remove(row)
        else:
            extra.append(row)
    return "" if not missing and not extra else f"missing {missing[:8]}, too much {extra[:8]}"
