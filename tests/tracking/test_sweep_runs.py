"""A sweep's parent run and its lost jobs in an MLflow that can't be reached for a while."""

import pytest

from reasonir.runs.outcome import FAILED, FINISHED, KILLED, JobRecord
from reasonir.tracking.database import client_of, database_of
from reasonir.tracking.mlflow import deliver
from reasonir.tracking.sweep_runs import close_sweep, mark_failed, open_sweep
from tests.running import run
from tests.runs.locking import locked

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a database."""
    folder = tmp_path_factory.mktemp("home")
    client_of(folder)
    return folder


def opened(home, folder, known=None):
    return open_sweep(home, known, experiment_name="p", name="sweep", folder=folder, tags={"purpose": "test"})


def test_a_sweep_ends_while_the_database_is_locked(home, tmp_path):
    sweep = opened(home, tmp_path)
    job, summary = tmp_path / "0", tmp_path / "summary.md"
    job.mkdir()
    summary.write_text("one row")
    outcome = JobRecord(["seed=1"], KILLED, error="killed by SIGKILL")
    with locked(database_of(home)):
        run_id = mark_failed(home, job, outcome, parent=sweep.run_id, experiment_name="p", name="seed=1")
        close_sweep(sweep, FAILED, [summary], "one row", keys=["seed"], metric="ndcg_at_10")
    assert run_id is None
    assert deliver(home, tmp_path) is deliver(home, job) is None
    client = client_of(home)
    entry, lost = client.get_run(sweep.run_id), client.get_run((job / "run_id").read_text())
    assert (entry.info.status, entry.data.tags["kind"], entry.data.tags["purpose"]) == (FAILED, "sweep", "test")
    assert [file.path for file in client.list_artifacts(sweep.run_id)] == ["summary.md"]
    assert (lost.info.status, lost.info.run_name) == (KILLED, "seed=1")
    assert lost.data.tags["error"] == "killed by SIGKILL"
    assert lost.data.tags["mlflow.parentRunId"] == sweep.run_id


@pytest.mark.parametrize("known", [True, False])
def test_a_sweep_goes_on_under_its_run_if_mlflow_still_has_it(home, tmp_path, known):
    sweep = opened(home, tmp_path)
    close_sweep(sweep, KILLED, [], "none", keys=[], metric="ndcg_at_10")
    if not known:
        client_of(home).delete_run(sweep.run_id)
    again = opened(home, tmp_path, sweep.run_id)
    assert (again.run_id == sweep.run_id) == known
    assert client_of(home).get_run(again.run_id).info.status == "RUNNING"
    again.end(FINISHED)


def test_a_sweep_does_not_begin_without_its_run(home):
    words = ("-m", "experiment=demo_tiny", "logger=mlflow", "seed=1,2")
    with locked(database_of(home)):
        refused = run("train", *words, home=home)
    assert refused.status == 2
    assert "mlflow.db is locked by another program: close that program, or give logger=csv" in refused.err
    (folder,) = (home / "multirun").iterdir()
    assert not [file.name for file in folder.iterdir() if not file.name.startswith(".")]
