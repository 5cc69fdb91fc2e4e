"""Runs whose MLflow can't be reached for a while: they go on, and MLflow has everything in the end, nothing twice."""

import csv
import json
import re
import shutil
import signal
import time

import pytest
from mlflow import MlflowClient

from reasonir.errors import InputError
from reasonir.runs.lock import lock_folder
from reasonir.tracking import outbox
from reasonir.tracking.base import Loggers, Tracking
from reasonir.tracking.database import client_of, database_of
from reasonir.tracking.mlflow import MlflowTracking
from reasonir.tracking.open import open_tracking, tracked
from reasonir.tracking.outbox import UNDELIVERED
from reasonir.training.callbacks import TrainingMonitor
from reasonir.utils.files import PARTIAL
from tests.running import run
from tests.runs.locking import Locker, locked

pytestmark = pytest.mark.usefixtures("hurried")
RUN = (
    *("experiment=demo_tiny", "logger=mlflow", "data.variants=1", "evaluation.baselines=[]", "model/head=biencoder"),
    *("trainer.max_steps=6", "checkpoint.every_n_steps=4"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a database."""
    home = tmp_path_factory.mktemp("home")
    client_of(home)
    return home


@pytest.fixture
def locker(home):
    locker = Locker(database_of(home))
    yield locker
    locker.release()


def at_step(monkeypatch, happenings):
    """Let something happen after the numbers of a step were noted."""
    real = TrainingMonitor._log_training

    def noted(self, trainer, module, step):
        real(self, trainer, module, step)
        happenings.get(step, lambda: None)()

    monkeypatch.setattr(TrainingMonitor, "_log_training", noted)


def entry_of(home, folder):
    return MlflowClient(f"sqlite:///{database_of(home)}").get_run((folder / "run_id").read_text())


def has_everything(home, folder):
    """MLflow has the numbers of metrics.csv, each once, the files, the model as one version, and the right status."""
    client, entry = MlflowClient(f"sqlite:///{database_of(home)}"), entry_of(home, folder)
    assert entry.info.status == "FINISHED"
    noted = {}
    for step, name, value in csv.reader((folder / "metrics.csv").open()):
        noted.setdefault(name, []).append((int(step), float(value)))
    for name, points in noted.items():
        history = client.get_metric_history(entry.info.run_id, name)
        assert sorted((point.step, point.value) for point in history) == points, name
    assert len(noted["train/loss"]) == 6
    figures = json.loads((folder / "results.json").read_text())["results"]["demo"]["trained"]
    assert entry.data.metrics["eval/demo/ndcg_at_10"] == figures["ndcg_at_10"]
    there = {file.path for file in client.list_artifacts(entry.info.run_id)}
    assert there >= {"config.yaml", "plan.json", "results.json", "metrics.csv", "report.html", "plots", "runs"}
    assert len(client.search_model_versions(f"run_id='{entry.info.run_id}'")) == 1
    assert "| **trained** |" in re.sub(" +", " ", entry.data.tags["mlflow.note.content"])
    assert entry.data.params["trainer.max_steps"] == "6"
    datasets = {(each.dataset.name, tag.value) for each in entry.inputs.dataset_inputs for tag in each.tags}
    assert datasets == {("demo", "training"), ("demo", "evaluation")}
    assert not (folder / UNDELIVERED).exists()
    return entry


def test_a_database_locked_in_mid_training_is_caught_up_with(home, locker, monkeypatch):
    at_step(monkeypatch, {2: locker.lock, 4: locker.release})
    done = run("train", *RUN, home=home)
    assert done.status == 0, done.err
    assert f"Calls to MLflow fail and are stored in {done.folder / UNDELIVERED}" in done.err
    assert "is locked by another program" in done.err
    assert "All calls stored in" in done.err
    assert "sync" not in done.err
    has_everything(home, done.folder)


def test_what_the_end_could_not_deliver_is_said_once_and_delivered_by_sync(home, locker, monkeypatch):
    at_step(monkeypatch, {2: locker.lock})
    done = run("train", *RUN, home=home)
    assert done.status == 0, done.err
    assert done.err.count(f"python -m reasonir.sync run={done.folder}") == 1
    refused = run("sync", f"run={done.folder}", home=home)
    assert refused.status == 2
    assert "is locked by another program" in refused.err
    locker.release()
    assert entry_of(home, done.folder).info.status == "RUNNING"
    late = run("sync", f"run={done.folder}", home=home)
    assert late.status == 0, late.err
    assert f"All calls stored in {done.folder / UNDELIVERED} were delivered to MLflow" in late.err
    entry = has_everything(home, done.folder)
    assert entry.info.end_time < time.time() * 1000 - 500  # when it ended, not when that was delivered


def test_a_run_begins_while_the_database_is_locked(home, monkeypatch):
    with locked(database_of(home)):
        done = run("train", *RUN, home=home)
    assert done.status == 0, done.err
    assert not (done.folder / "run_id").exists()
    late = run("sync", f"run={home / 'outputs'}", home=home)  # all that lie there
    assert late.status == 0, late.err
    entry = has_everything(home, done.folder)
    assert entry.info.run_name == "demo_tiny"
    assert entry.data.tags["reasonir.folder"] == str(done.folder)
    assert entry.info.start_time < entry.info.end_time


def test_artifacts_that_cannot_be_copied_hold_up_nothing_else(home):
    there, aside = home / "mlartifacts", home / "aside"
    there.mkdir(exist_ok=True)
    there.rename(aside)
    there.write_text("in the way of the folder")
    done = run("train", *RUN, home=home)
    assert done.status == 0, done.err
    assert "artifact: " in done.err
    assert f"python -m reasonir.sync run={done.folder}" in done.err
    entry = entry_of(home, done.folder)
    assert entry.info.status == "FINISHED"
    assert "train/loss" in entry.data.metrics
    there.unlink()
    aside.rename(there)
    assert run("sync", f"run={done.folder}", home=home).status == 0
    assert has_everything(home, done.folder).info.end_time == entry.info.end_time


def test_a_resumed_run_delivers_first_and_nothing_beyond_its_checkpoint(home, locker, monkeypatch):
    def die():
        raise SystemExit(137)  # as if killed: the step is never saved

    with monkeypatch.context() as patch:
        at_step(patch, {2: locker.lock, 5: die})
        patch.setattr(MlflowTracking, "end", lambda self, status: None)
        killed = run("train", *RUN, home=home)
    assert killed.status == 137
    locker.release()
    kept = [json.loads(line) for line in (killed.folder / UNDELIVERED).read_text().splitlines()]
    assert {call["step"] for call in kept if call["call"] == "metrics"} == {3, 4, 5}
    again = run("train", f"resume={killed.folder}", home=home)
    assert again.status == 0, again.err
    assert "Resuming after step 4" in again.err
    has_everything(home, killed.folder)


def test_sync_closes_a_run_that_was_killed(home, monkeypatch):
    tracking = open_tracking(Loggers(mlflow=True), home, experiment_name="p", name="n", folder=home / "killed", tags={})
    with locked(database_of(home)):
        tracking.metrics({"train/loss": 0.5}, 1)
    assert run("sync", f"run={home / 'killed'}", home=home).status == 0
    entry = entry_of(home, home / "killed")
    assert (entry.info.status, entry.data.metrics) == ("KILLED", {"train/loss": 0.5})


def opened(home, folder, **options):
    """The tracking of a run in `folder`."""
    return open_tracking(Loggers(mlflow=True), home, experiment_name="p", name="n", folder=folder, tags={}, **options)


def test_a_run_that_was_killed_is_closed_by_the_next_command_and_one_that_runs_is_not(home, tmp_path):
    folders = {name: home / "outputs" / name for name in ("killed", "running", "gone", "ended")}
    runs = {name: opened(home, folder).run_id for name, folder in folders.items()}
    elsewhere = opened(home, tmp_path / "elsewhere").run_id
    for folder in (folders["killed"], folders["ended"]):
        with lock_folder(folder):  # until its process is killed
            pass
    shutil.rmtree(folders["gone"])
    shutil.rmtree(tmp_path / "elsewhere")
    waiting = {"call": "end", "status": "FINISHED", "at": 1}
    (folders["ended"] / UNDELIVERED).write_text(json.dumps(waiting) + "\n")
    with lock_folder(folders["running"]):
        with tracked(
            Loggers(mlflow=True), home, experiment_name="p", name="next", folder=home / "outputs" / "next", tags={}
        ):
            pass
        client = client_of(home)
        status = {name: client.get_run(run_id).info.status for name, run_id in runs.items()}
    assert status == {"killed": "KILLED", "running": "RUNNING", "gone": "KILLED", "ended": "RUNNING"}
    assert client.get_run(elsewhere).info.status == "RUNNING"  # its folder may be mounted elsewhere
    ended = client.get_run(runs["killed"]).info.end_time
    assert ended <= (folders["killed"] / ".lock").stat().st_mtime * 1000 + 1


def test_a_command_that_was_killed_before_it_noted_its_run_finds_it_again(home, tmp_path):
    first = opened(home, tmp_path).run_id
    (tmp_path / "run_id").unlink()
    assert opened(home, tmp_path).run_id == first
    assert opened(home, tmp_path / "other").run_id != first


def test_a_run_that_begins_again_has_each_point_once(home, tmp_path):
    run = opened(home, tmp_path)
    for step in (1, 2, 3):
        run.metrics({"train/loss": 1.0 / step}, step)
    run.metrics({"eval/demo/mrr": 0.5})
    again = opened(home, tmp_path, run_id=run.run_id, resumed_at=1)
    for step in (2, 3):
        again.metrics({"train/loss": 2.0 / step}, step)
    again.metrics({"eval/demo/mrr": 0.6})
    client = client_of(home)
    curve = [(point.step, point.value) for point in client.get_metric_history(run.run_id, "train/loss")]
    assert curve == [(1, 1.0), (2, 1.0), (3, 2.0 / 3)]
    assert [point.value for point in client.get_metric_history(run.run_id, "eval/demo/mrr")] == [0.6]
    assert client.get_run(run.run_id).data.metrics == {"train/loss": 2.0 / 3, "eval/demo/mrr": 0.6}


@pytest.mark.parametrize("status", ["RUNNING", "FINISHED"])
def test_an_evaluation_leaves_the_status_of_its_run_alone(home, tmp_path, status):
    run = opened(home, tmp_path / "run")
    if status == "FINISHED":
        run.end(status)
    before = client_of(home).get_run(run.run_id).info
    evaluation = opened(home, tmp_path / "evaluation", run=tmp_path / "run", run_id=run.run_id)
    evaluation.metrics({"eval/x/mrr": 0.5})
    assert client_of(home).get_run(run.run_id).info.status == status
    evaluation.end("FAILED")
    after = client_of(home).get_run(run.run_id).info
    assert (after.status, after.end_time) == (status, before.end_time)


def test_a_job_that_failed_and_finishes_has_no_error_any_more(home, tmp_path):
    run = opened(home, tmp_path)
    run.tag("error", "killed")
    run.end("KILLED")
    again = opened(home, tmp_path, run_id=run.run_id)
    again.end("FINISHED")
    entry = client_of(home).get_run(run.run_id)
    assert (entry.info.status, "error" in entry.data.tags) == ("FINISHED", False)


def test_a_finished_run_whose_calls_can_be_neither_made_nor_stored_fails(home, tmp_path, monkeypatch):
    run = opened(home, tmp_path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outbox, "atomic_path", full)
    with locked(database_of(home)), pytest.raises(OSError, match="No space left"), run.closing():
        pass
    assert client_of(home).get_run(run.run_id).info.status == "RUNNING"


def test_sync_names_what_it_cannot_deliver(home, tmp_path):
    nothing = run("sync", f"run={tmp_path}", home=home)
    assert nothing.status == 0
    assert f"Nothing to deliver in {tmp_path}" in nothing.err
    missing = run("sync", f"run={tmp_path / 'not there'}", home=home)
    assert missing.status == 2
    assert "is no folder" in missing.err
    tracking = open_tracking(
        Loggers(mlflow=True), home, experiment_name="p", name="n", folder=tmp_path / "mine", tags={}
    )
    tracking.artifact(tmp_path / "mine" / "deleted.txt")
    tracking.end("FINISHED")
    refused = run("sync", f"run={tmp_path}", home=home)
    assert refused.status == 2
    assert f"{tmp_path / 'mine'}: artifact: " in refused.err
    assert "deleted.txt" in refused.err


@pytest.mark.parametrize("path", ["../secret.txt", "{folder}/../secret.txt", "link.txt"])
def test_a_folder_that_was_downloaded_cannot_name_files_of_others(home, tmp_path, path):
    folder = tmp_path / "downloaded"
    tracking = open_tracking(Loggers(mlflow=True), home, experiment_name="p", name="n", folder=folder, tags={})
    tracking.end("FINISHED")
    (tmp_path / "secret.txt").write_text("a password")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    call = {"call": "artifact", "path": path.format(folder=folder), "under": None}
    (folder / UNDELIVERED).write_text(json.dumps(call) + "\n")
    refused = run("sync", f"run={folder}", home=home)
    assert refused.status == 2
    assert f"isn't in {folder}: only files in that folder are sent" in refused.err
    assert client_of(home).list_artifacts(tracking.run_id) == []


def test_a_user_who_stops_a_run_does_not_wait(home, tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "LAST_PATIENCE", 600.0)
    tracking = open_tracking(Loggers(mlflow=True), home, experiment_name="p", name="n", folder=tmp_path, tags={})
    with locked(database_of(home)):
        started = time.monotonic()
        with pytest.raises(SystemExit), tracking.closing():
            raise SystemExit(128 + signal.SIGTERM)
        assert time.monotonic() - started < 5
    assert json.loads((tmp_path / UNDELIVERED).read_text())["status"] == "KILLED"


def test_any_failure_of_mlflow_is_survived(home, tmp_path, monkeypatch, caplog):
    tracking = open_tracking(Loggers(mlflow=True), home, experiment_name="p", name="n", folder=tmp_path, tags={})

    def broken(*_, **__):
        raise RuntimeError("no such function")

    with monkeypatch.context() as patch:
        for method in ("log_batch", "set_tag", "log_inputs", "log_artifact", "get_run", "set_terminated"):
            patch.setattr(MlflowClient, method, broken)
        (tmp_path / "a.txt").touch()
        tracking.parameters({"a": 1})
        tracking.metrics({"b": 1.0}, 1)
        tracking.describe("text")
        tracking.dataset("d", "1", "here", "training")
        tracking.artifact(tmp_path / "a.txt")
        tracking.model(tmp_path, "m", None, "x")
        tracking.end("FINISHED")
    assert "7 calls to MLflow couldn't be made" in caplog.text
    assert isinstance(tracking, MlflowTracking)
    (tmp_path / "model").mkdir()
    (tmp_path / "config.yaml").touch()
    tracking.deliver()
    entry = entry_of(home, tmp_path)
    assert (entry.info.status, entry.data.metrics["b"], entry.data.params["a"]) == ("FINISHED", 1.0, "1")


def test_the_systems_metrics_are_noted_again_after_their_thread_died(home, tmp_path):
    tracking = open_tracking(Loggers(mlflow=True), home, experiment_name="p", name="n", folder=tmp_path, tags={})
    tracking.metrics({"a": 1.0}, 1)
    first = tracking._system
    first._shutdown_event.set()
    first._process.join()
    tracking.metrics({"a": 2.0}, 2)
    assert tracking._system is not first
    assert tracking._system._process.is_alive()
    tracking.end("FINISHED")


def test_an_evaluation_is_delivered_to_the_run_it_is_about(home, locker, monkeypatch):
    done = run("train", *RUN, home=home)
    real = Tracking.closing

    def closing(self):
        locker.lock()
        return real(self)

    words = (f"run={done.folder}", "eval=demo", "eval.split=dev", "evaluation.baselines=[]")
    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "closing", closing)
        judged = run("evaluate", *words, home=home)
    assert judged.status == 0, judged.err
    locker.release()
    assert f"python -m reasonir.sync run={judged.folder}" in judged.err
    moved = judged.folder.rename(home / "moved")
    assert run("sync", f"run={moved}", home=home).status == 0
    entry = entry_of(home, done.folder)
    assert "eval/demo-dev/ndcg_at_10" in entry.data.metrics
    assert entry.info.status == "FINISHED"
    (evaluation,) = client_of(home).list_artifacts(entry.info.run_id, "evaluations")
    assert evaluation.path == f"evaluations/{judged.folder.name}"


def test_a_folder_that_a_run_writes_is_not_synced(home, tmp_path):
    from reasonir.tracking.mlflow import deliver

    tracking = open_tracking(Loggers(mlflow=True), home, experiment_name="p", name="n", folder=tmp_path, tags={})
    with locked(database_of(home)):
        tracking.metrics({"a": 1.0}, 1)
    with lock_folder(tmp_path), pytest.raises(InputError, match="is being written by process"):
        deliver(home, tmp_path)
    shutil.rmtree(tmp_path)
    assert deliver(home, tmp_path) is None


def test_partial_files_are_not_sent(home, tmp_path):
    for name in ("runs/a.trec", "runs/deep/b.trec", f"runs/c.trec{PARTIAL}0-1", f"runs/deep{PARTIAL}0-1/d.trec"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    tracking = open_tracking(Loggers(mlflow=True), home, experiment_name="partial", name="x", folder=tmp_path, tags={})
    with tracking.closing():
        tracking.artifact(tmp_path / "runs", "runs")
    client = client_of(home)
    listed = [item.path for item in client.list_artifacts(tracking.run_id, "runs")]
    assert listed == ["runs/a.trec", "runs/deep"]
    assert [item.path for item in client.list_artifacts(tracking.run_id, "runs/deep")] == ["runs/deep/b.trec"]
