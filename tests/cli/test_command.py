"""Ends of commands: a signal or a fault of the machine at any stage is one line, a status, and nothing half-written."""

import errno
import importlib
import os
import signal

import pytest

from reasonir.tracking.database import client_of
from tests.running import run

TRAIN = (
    *("train", "experiment=demo_tiny", "model/head=biencoder", "model.head.max_length=16", "trainer.max_steps=1"),
    *("data.variants=1", "logger=mlflow", "evaluation.baselines=[random]", "loader.workers=0"),
)
STAGES = {
    "preparation": (TRAIN, "data.prepared", "progress"),
    "mining": (("mine", "data=demo", "data.variants=1", "mining=bm25"), "mining.negatives", "_pool"),
    "baselines": (TRAIN, "eval.evaluator", "Evaluation.baselines"),
    "export": (TRAIN, "commands.train_session", "export"),
    "evaluation": (TRAIN, "eval.evaluator", "Evaluation.evaluate"),
    "registration": (TRAIN, "tracking.model_registry", "register"),
    "a model's evaluation": (
        ("evaluate", "model=tiny", "eval=demo", "eval.split=dev", "logger=mlflow", "evaluation.baselines=[random]"),
        "commands.evaluate",
        "track_results",
    ),
    "indexing": (("search", "run=bm25", "corpus={corpus}", "query=x"), "commands.search", "open_corpus"),
}


def at(monkeypatch, stage, happens):
    """Let something happen when a stage begins; return the command of the stage."""
    words, module, name = STAGES[stage]
    owner = importlib.import_module(f"reasonir.{module}")
    *classes, function = name.split(".")
    for each in classes:
        owner = getattr(owner, each)
    real = getattr(owner, function)

    def wrapped(*arguments, **options):
        happens()
        return real(*arguments, **options)

    monkeypatch.setattr(owner, function, wrapped)
    return words


def statuses(home):
    client = client_of(home)
    return [
        entry.info.status for entry in client.search_runs([each.experiment_id for each in client.search_experiments()])
    ]


@pytest.mark.parametrize(
    ("stage", "number"),
    [*((stage, signal.SIGTERM) for stage in STAGES), ("preparation", signal.SIGINT), ("registration", signal.SIGHUP)],
)
def test_a_signal_ends_any_stage_in_order(tmp_path, monkeypatch, stage, number):
    (tmp_path / "docs.txt").write_text("Bees dance.\n")
    signals = iter([number])
    words = at(monkeypatch, stage, lambda: [os.kill(os.getpid(), each) for each in signals])
    done = run(*(word.format(corpus=tmp_path / "docs.txt") for word in words), home=tmp_path)
    assert done.status == 128 + number, done.err
    assert done.err.rstrip().endswith(f"reasonir: stopped by {number.name}")
    assert "Traceback" not in done.err
    assert not list(tmp_path.rglob("*.partial*"))
    if "logger=mlflow" in words and (tmp_path / "mlflow.db").exists():
        assert set(statuses(tmp_path)) <= {"KILLED"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_ends_any_stage_with_one_line(tmp_path, monkeypatch, stage):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "docs.txt").write_text("Bees dance.\n")
    words = at(monkeypatch, stage, full)
    done = run(*(word.format(corpus=tmp_path / "docs.txt") for word in words), home=tmp_path)
    assert "Traceback" not in done.err
    if stage == "registration":  # an undelivered call ends no run
        assert done.status == 0, done.err
        assert "python -m reasonir.sync" in done.err
        return
    assert done.status == 2, done.err
    assert done.err.splitlines()[-1].startswith(f"reasonir: {tmp_path}: its disk is full")
    assert not list(tmp_path.rglob("*.partial*"))
    if "logger=mlflow" in words and (tmp_path / "mlflow.db").exists():
        assert set(statuses(tmp_path)) <= {"FAILED"}
