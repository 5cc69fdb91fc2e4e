"""Points that are deleted and runs that are found in MLflow's tables, with what MLflow says afterwards."""

import time

import pytest
from mlflow.entities import Metric

from reasonir.tracking.database import client_of
from reasonir.tracking.records import OUTPUT_TAG, delete_curves, delete_output, delete_results, open_runs, run_of_output

LATER = int(time.time() * 1000) + 10**9


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    client_of(folder)
    return folder


def tracked(home, folder, points=()):
    """A run with its folder and points (name, step, value)."""
    client = client_of(home)
    entry = client.create_run("0", tags={OUTPUT_TAG: str(folder)})
    client.log_batch(entry.info.run_id, metrics=[Metric(name, value, step, step) for name, step, value in points])
    return entry.info.run_id


def points_of(home, run_id, *names):
    client = client_of(home)
    return {name: [(each.step, each.value) for each in client.get_metric_history(run_id, name)] for name in names}


POINTS = (
    *(("train/loss", step, 1 / step) for step in (1, 2, 3, 4)),
    ("dev/map", 3, 0.3),
    ("system/cpu", 9, 50.0),
    ("eval/demo/mrr", 0, 0.7),
)


def test_curves_end_at_a_step_and_the_latest_value_is_that_of_the_step(home, tmp_path):
    run_id, other = tracked(home, tmp_path, POINTS), tracked(home, tmp_path / "other", POINTS)
    delete_curves(home, run_id, after=2, before=LATER)
    assert points_of(home, run_id, "train/loss", "dev/map") == {"train/loss": [(1, 1.0), (2, 0.5)], "dev/map": []}
    latest = client_of(home).get_run(run_id).data.metrics
    assert latest == {"train/loss": 0.5, "system/cpu": 50.0, "eval/demo/mrr": 0.7}
    assert len(client_of(home).get_metric_history(other, "train/loss")) == 4
    delete_curves(home, run_id, after=0, before=2)  # what was logged later stays
    assert points_of(home, run_id, "train/loss") == {"train/loss": [(2, 0.5)]}


def test_results_are_deleted_by_name(home, tmp_path):
    run_id = tracked(home, tmp_path, [*POINTS, ("eval/demo/map", 0, 0.1)])
    delete_results(home, run_id, ["eval/demo/mrr", "train/loss", "unknown"])
    metrics = client_of(home).get_run(run_id).data.metrics
    assert metrics == {"train/loss": 0.25, "dev/map": 0.3, "system/cpu": 50.0, "eval/demo/map": 0.1}


def test_a_run_is_found_by_its_folder_unless_it_was_deleted(home, tmp_path):
    folder = tmp_path / 'it\'s "here"'
    assert run_of_output(home, folder) is None
    run_id = tracked(home, folder)
    assert run_of_output(home, folder) == run_id
    client_of(home).delete_run(run_id)
    assert run_of_output(home, folder) is None


def test_open_runs_are_those_that_read_running(home, tmp_path):
    running, ended = tracked(home, tmp_path / "a"), tracked(home, tmp_path / "b")
    client_of(home).set_terminated(ended, "FAILED")
    found = open_runs(home)
    assert found[running] == tmp_path / "a"
    assert ended not in found
    client_of(home).set_terminated(running)


def test_an_output_is_removed_from_its_run_alone(home, tmp_path):
    from mlflow.entities import LoggedModelOutput

    client = client_of(home)
    run_id = tracked(home, tmp_path)
    models = [client.create_logged_model("0", name="m", source_run_id=run_id).model_id for _ in range(2)]
    client.log_outputs(run_id, [LoggedModelOutput(model, 0) for model in models])
    delete_output(home, run_id, models[0])
    assert [each.model_id for each in client.get_run(run_id).outputs.model_outputs] == [models[1]]
