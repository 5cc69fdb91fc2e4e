"""First commands in an empty home, started at the same moment: all of them end as if each had been alone."""

import os
import time
from collections import Counter

import pytest

from reasonir.tracking.database import client_of
from reasonir.tracking.model_registry import METRIC
from reasonir.tracking.outbox import UNDELIVERED
from tests.faults.faults import SMALL, Tally, check, start

pytestmark = pytest.mark.slow
EACH = 8
"""Commands of each kind."""


def test_24_first_starts(tmp_path):
    """Training runs, evaluations and mining share data, model, database, experiment, registry and folder names."""
    home, flag = tmp_path / "home", tmp_path / "go"
    evaluation = ("model=tiny", "model/head=biencoder", "model.head.max_length=16", "eval=demo", "eval.split=dev")
    commands = [
        *[("train", *SMALL, f"seed={number % 4}") for number in range(EACH)],
        *[("evaluate", *evaluation, "evaluation.baselines=[random]", "logger=mlflow")] * EACH,
        *[("mine", "data=demo", "data.variants=1", "mining=bm25")] * EACH,
    ]

    def wait() -> None:
        while not flag.exists():
            time.sleep(0.001)

    started = [start(home, tmp_path / str(n), *words, before=wait) for n, words in enumerate(commands)]
    flag.touch()
    tally = Tally("racing first starts")
    for (command, *_), process in zip(commands, started, strict=True):
        with tally.case(command):
            check(process.wait(550) == 0, process.said[-3000:])
            check("Traceback" not in process.said, process.said[-3000:])
    with tally.case("what they leave"):
        client = client_of(home)
        tracked = client.search_runs([client.get_experiment_by_name("reasonir").experiment_id])
        check([run.info.status for run in tracked] == ["FINISHED"] * 2 * EACH, str([run.info for run in tracked]))
        versions = client.search_model_versions("name='demo-biencoder'")
        check(sorted(int(each.version) for each in versions) == [*range(1, EACH + 1)], str(versions))
        best = client.get_model_version_by_alias("demo-biencoder", "best")
        check(float(best.tags[METRIC]) == max(float(each.tags[METRIC]) for each in versions), str(best))
        check(not list(home.rglob("*.partial*")), "partial files")
        check(not list(home.rglob(UNDELIVERED)), "undelivered calls")
        losses = Counter(
            str([(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "train/loss")])
            for run in tracked
            if "train/loss" in run.data.metrics
        )
        check(sorted(losses.values()) == [2] * 4, f"other curves: {losses}")  # by the seed alone
    tally.done()


def test_resumes_of_one_run(tmp_path):
    """Several commands resume a run at once: one does, the others are refused in one line."""
    home, flag = tmp_path / "home", tmp_path / "go"
    first = start(home, tmp_path / "first", "train", *SMALL, "trainer.max_steps=2", "trainer.max_epochs=1")
    assert first.wait() == 0, first.said
    (folder,) = (home / "outputs").iterdir()

    def wait() -> None:
        while not flag.exists():
            time.sleep(0.001)

    words = (f"resume={folder}", "trainer.max_steps=4", "trainer.max_epochs=2")
    started = [start(home, tmp_path / str(n), "train", *words, before=wait) for n in range(6)]
    flag.touch()
    statuses = [process.wait() for process in started]
    tally = Tally("racing resumes of one run")
    for status, process in zip(statuses, started, strict=True):
        with tally.case(f"status {status}"):
            check("Traceback" not in process.said, process.said[-3000:])
            check(status == 0 or "is being written by process" in process.said.splitlines()[-1], process.said[-3000:])
    with tally.case("the run"):
        check(statuses.count(0) >= 1, str(statuses))
        client = client_of(home)
        run = client.get_run((folder / "run_id").read_text())
        check(run.info.status == "FINISHED", run.info.status)
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
        check(steps == [1, 2, 3, 4], str(steps))
        check(len(client.search_runs([run.info.experiment_id])) == 1, "more than one run")
    tally.done()


def test_evaluations_while_a_run_is_resumed(tmp_path):
    """They leave the status of the run alone, and their results are there once."""
    home = tmp_path / "home"
    first = start(home, tmp_path / "first", "train", *SMALL, "trainer.max_steps=2", "trainer.max_epochs=1")
    assert first.wait() == 0, first.said
    (folder,) = (home / "outputs").iterdir()
    longer = ("trainer.max_steps=400", "trainer.max_epochs=400", "dev_eval.every_n_steps=1000")
    training = start(home, tmp_path / "training", "train", f"resume={folder}", *longer)
    client = client_of(home)
    run_id = (folder / "run_id").read_text()
    while client.get_run(run_id).info.status != "RUNNING":
        time.sleep(0.1)
    words = (f"run={folder}", "eval=demo", "eval.split=dev", "evaluation.baselines=[random]", "logger=mlflow")
    together = [start(home, tmp_path / str(number), "evaluate", *words) for number in range(3)]
    tally = Tally("evaluations while the run trains")
    for process in together:
        with tally.case("evaluation"):
            check(process.wait() == 0, process.said[-3000:])
    with tally.case("the run"):
        check(os.waitpid(training.pid, os.WNOHANG)[0] == 0, "it ended before the evaluations")
        check(client.get_run(run_id).info.status == "RUNNING", "its status was changed")
        os.kill(training.pid, 15)
        check(training.wait() == 143, training.said[-3000:])
        check(client.get_run(run_id).info.status == "KILLED", "another status")
        points = client.get_metric_history(run_id, "eval/demo-dev/ndcg_at_10")
        check(len(points) == 1, str(points))
    tally.done()
