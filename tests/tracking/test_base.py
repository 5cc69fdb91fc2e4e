"""A run in MLflow: parameters, metrics, artifacts, datasets, status; and resuming under its id."""

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import yaml

from reasonir.errors import InputError
from reasonir.eval.digest import whole
from reasonir.runs.environment import environment
from reasonir.tracking.base import Loggers, Tracking, folder_of_run
from reasonir.tracking.database import client_of
from reasonir.tracking.open import open_tracking
from reasonir.training import callbacks
from tests.running import run

TRACKED = ("experiment=demo_tiny", "logger=mlflow", "data.variants=1", "evaluation.baselines=[random,untrained]")


@pytest.fixture(scope="module")
def home_with_runs(tmp_path_factory):
    """A home of its own with one tracked run: (home, run folder, its entry in MLflow, client)."""
    from mlflow import MlflowClient

    home = tmp_path_factory.mktemp("tracked")
    done = run("train", *TRACKED, "+tags.purpose=test", home=home)
    assert done.status == 0, done.err
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    return home, done.folder, client.get_run((done.folder / "run_id").read_text()), client


def artifacts(client, run_id, path=None):
    return {item.path for item in client.list_artifacts(run_id, path)}


def text(client, run_id, path, folder):
    return Path(client.download_artifacts(run_id, path, str(folder))).read_text()


def test_everything_lies_under_the_home_folder(home_with_runs):
    home, folder, entry, _ = home_with_runs
    assert entry.info.status == "FINISHED"
    assert entry.info.artifact_uri.startswith((home / "mlartifacts").as_uri())
    assert entry.data.tags["reasonir.folder"] == str(folder)
    assert entry.data.tags["purpose"] == "test"
    assert entry.info.run_name == "demo_tiny"


def test_a_collections_name_may_hold_what_mlflow_does_not_take(tmp_path):
    from mlflow import MlflowClient

    tracking = open_tracking(Loggers(mlflow=True), tmp_path, experiment_name="p", name="n", folder=tmp_path, tags={})
    tracking.metrics({"eval/scifact (copy)/mrr": 0.5})
    tracking.end("FINISHED")
    run = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(tracking.run_id)
    assert run.data.metrics["eval/scifact _copy_/mrr"] == 0.5


def test_what_a_broken_uninstallation_left_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "gone-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    packages = environment()["packages"]
    assert "torch" in packages
    assert None not in packages


def test_parameters_are_what_decides_of_the_configuration(home_with_runs):
    entry = home_with_runs[2]
    assert entry.data.params["loader.batch_size"] == "16"
    assert entry.data.params["model.head.temperature"] == "1.0"
    assert entry.data.params["hardware.precision"] == "32-true"
    assert not any("_target_" in name for name in entry.data.params)
    assert not {"home", "resume", "model.head_lr", "model.config.num_hidden_layers", "evaluation.bm25.k1"} & set(
        entry.data.params
    )


def test_tags_and_the_description_tell_what_a_run_is(home_with_runs):
    _, folder, entry, _ = home_with_runs
    expected = {"model": "tiny", "head": "colbert", "data": "demo", "loss": "cached_contrastive", "hardware": "cpu"}
    assert expected.items() <= entry.data.tags.items()
    assert entry.data.tags["protocol"] == "demo"
    note = entry.data.tags["mlflow.note.content"]
    figures = json.loads((folder / "results.json").read_text())["results"]["demo"]
    row = next(line for line in note.splitlines() if "trained" in line and "untrained" not in line)
    assert [cell.strip(" *") for cell in row.split("|")[1:3]] == ["trained", f"{figures['trained']['ndcg_at_10']:.4f}"]
    assert "python -m reasonir.train experiment=demo_tiny logger=mlflow" in note


def test_numbers_of_training_and_evaluation_are_there(home_with_runs):
    _, folder, entry, client = home_with_runs
    losses = client.get_metric_history(entry.info.run_id, "train/loss")
    assert [metric.step for metric in losses] == list(range(1, 9))
    assert next(iter(entry.data.metrics)) == "train/loss"  # MLflow's comparison begins with the first
    for name in ("train/lr", "train/tokens_per_s", "train/peak_memory_gib", "dev/ndcg_at_10"):
        assert name in entry.data.metrics
    figures = json.loads((folder / "results.json").read_text())["results"]["demo"]
    for metric, value in figures["trained"].items():
        assert entry.data.metrics[f"eval/demo/{metric}"] == pytest.approx(value)
    assert entry.data.metrics["eval/demo/untrained/ndcg_at_10"] == pytest.approx(figures["untrained"]["ndcg_at_10"])


def test_artifacts_a_person_looks_for_are_there(home_with_runs, tmp_path):
    _, _, entry, client = home_with_runs
    run_id = entry.info.run_id
    expected = {"config.yaml", "plan.json", "environment.json", "results.json", "per_query.parquet", "metrics.csv"}
    assert artifacts(client, run_id) >= expected | {"plots", "runs"}
    assert artifacts(client, run_id, "plots") == {
        "plots/train_loss.png",
        "plots/dev_ndcg_at_10.png",
        "plots/change_demo.png",
    }
    config = yaml.safe_load(text(client, run_id, "config.yaml", tmp_path))
    assert config["loader"]["batch_size"] == 16
    environment = json.loads(text(client, run_id, "environment.json", tmp_path))
    assert environment["packages"]["mlflow"]
    assert "commit" in environment["git"] or environment["git"] == {}


def test_training_and_evaluation_data_are_named_with_their_digests(home_with_runs):
    _, folder, entry, _ = home_with_runs
    logged = {tag.value: each.dataset for each in entry.inputs.dataset_inputs for tag in each.tags}
    assert logged["training"].name == "demo"
    assert logged["training"].digest in logged["training"].source
    digests = json.loads((folder / "results.json").read_text())["protocol"]["digests"]
    assert {logged["evaluation"].name: logged["evaluation"].digest} == {task: whole(d) for task, d in digests.items()}


def test_a_run_is_found_by_its_id_and_judged_again_under_it(home_with_runs):
    home, folder, entry, client = home_with_runs
    assert folder_of_run(entry.info.run_id, home) == folder
    assert folder_of_run(str(folder), home) == folder
    done = run(
        "evaluate", f"run={entry.info.run_id}", "eval=demo", "eval.split=dev", "evaluation.baselines=[]", home=home
    )
    assert done.status == 0, done.err
    again = client.get_run(entry.info.run_id)
    assert "eval/demo-dev/ndcg_at_10" in again.data.metrics
    assert again.info.status == "FINISHED"
    assert len(client.search_runs([entry.info.experiment_id])) == 1
    there = {file.path for file in client.list_artifacts(entry.info.run_id)}
    assert {"results.json", "evaluations"} <= there
    (judged,) = client.list_artifacts(entry.info.run_id, "evaluations")
    assert f"{judged.path}/results.json" in {
        file.path for file in client.list_artifacts(entry.info.run_id, judged.path)
    }


def test_what_raises_while_results_are_tracked_fails_the_run():
    ended = []

    class Ending(Tracking):
        def end(self, status):
            ended.append(status)

    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error), Ending().closing():
            raise error
    with Ending().closing():
        pass
    assert ended == ["FAILED", "KILLED", "FINISHED"]


def test_unknown_runs_are_named(home_with_runs, tmp_path):
    home, _, entry, client = home_with_runs
    with pytest.raises(InputError, match="run=nothing is neither a folder nor the id of a run"):
        folder_of_run("nothing", home)
    with pytest.raises(InputError, match=r"has no mlflow.db"):
        folder_of_run("nothing", tmp_path)
    client.set_tag(entry.info.run_id, "reasonir.folder", "/gone")
    assert folder_of_run(entry.info.run_id, home) == home_with_runs[1]  # renamed: found among the home's runs
    (home_with_runs[1] / "run_id").rename(tmp_path / "run_id")
    with pytest.raises(InputError, match="was made in /gone, which doesn't exist any more"):
        folder_of_run(entry.info.run_id, home)
    (tmp_path / "run_id").rename(home_with_runs[1] / "run_id")
    client.set_tag(entry.info.run_id, "reasonir.folder", str(home_with_runs[1]))


def test_a_killed_run_is_marked_and_goes_on_under_its_id(home_with_runs, monkeypatch):
    home, _, entry, client = home_with_runs
    real = callbacks.TrainingMonitor._log_training

    def signalled(self, trainer, module, at):
        real(self, trainer, module, at)
        if at == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.TrainingMonitor, "_log_training", signalled)
        done = run("train", *TRACKED, "evaluation.baselines=[]", home=home)
    assert done.status == 128 + signal.SIGTERM
    run_id = (done.folder / "run_id").read_text()
    assert client.get_run(run_id).info.status == "KILLED"
    again = run("train", f"resume={done.folder}", home=home)
    assert again.status == 0, again.err
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run_id, "train/loss")] == list(range(1, 9))
    first = client.get_metric_history(entry.info.run_id, "train/loss")
    assert [m.value for m in client.get_metric_history(run_id, "train/loss")] == [m.value for m in first]


@pytest.mark.parametrize("why", ["copied", "deleted", "deleted with its experiment"])
def test_a_run_that_mlflow_does_not_have_any_more_goes_on_under_a_new_one(home_with_runs, tmp_path, why):
    home, folder, entry, client = home_with_runs
    words, said = ["logger=mlflow", "evaluation.baselines=[]"], f"Run {entry.info.run_id} of {folder} was deleted"
    if why == "copied":
        folder = shutil.copytree(folder, tmp_path / "copy")
        (folder / "run_id").write_text("0" * 32)
        said = f"{home / 'mlflow.db'} has no run {'0' * 32} of {folder}"
    elif why == "deleted":
        client.delete_run(entry.info.run_id)
    else:
        client.delete_experiment(entry.info.experiment_id)
        words.append("experiment_name=other")
    try:
        judged = run("evaluate", f"run={folder}", "eval=demo", "eval.split=dev", *words, home=home)
        assert judged.status == 0, judged.err
        assert judged.err.count(f"{said}") == 1
        mine = client.get_run((judged.folder / "run_id").read_text())
        assert mine.data.tags["reasonir.folder"] == str(folder.resolve())
        assert "eval/demo-dev/ndcg_at_10" in mine.data.metrics
        if why == "copied":
            again = run("train", f"resume={folder}", "trainer.max_steps=9", "trainer.max_epochs=2", *words, home=home)
            assert again.status == 0, again.err
            assert again.err.count(said) == 1
            continued = client.get_run((folder / "run_id").read_text())
            assert continued.info.run_id not in ("0" * 32, mine.info.run_id, entry.info.run_id)
            assert (continued.info.status, continued.data.tags["reasonir.folder"]) == ("FINISHED", str(folder))
        else:
            assert client.get_run(entry.info.run_id).info.lifecycle_stage == "deleted"  # restoring isn't ours to do
    finally:
        if why == "deleted":
            client.restore_run(entry.info.run_id)
        elif why != "copied":
            client.restore_experiment(entry.info.experiment_id)


def test_a_run_that_is_deleted_is_still_found_by_its_id(home_with_runs):
    home, folder, entry, client = home_with_runs
    client.delete_run(entry.info.run_id)
    assert folder_of_run(entry.info.run_id, home) == folder
    client.restore_run(entry.info.run_id)


def test_a_database_that_cannot_be_read_is_not_an_unknown_run(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(InputError, match=r"run=abc is no folder, and .+mlflow.db can't be read \(.+not a database"):
        folder_of_run("abc", tmp_path)


def test_a_failed_run_is_marked(home_with_runs, monkeypatch):
    home, _, entry, client = home_with_runs

    def fails(self, trainer, at):
        raise RuntimeError("power cut")

    monkeypatch.setattr(callbacks.TrainingMonitor, "_save", fails)
    with pytest.raises(RuntimeError, match="power cut"):
        run("train", *TRACKED, "evaluation.baselines=[]", home=home)
    newest = client.search_runs([entry.info.experiment_id], order_by=["attributes.start_time DESC"])[0]
    assert newest.info.status == "FAILED"


@pytest.mark.parametrize("csv", [True, False])
def test_without_mlflow_there_is_nothing_to_do(csv, tmp_path):
    tracking = open_tracking(Loggers(csv=csv), tmp_path, experiment_name="p", name="n", folder=tmp_path, tags={})
    assert type(tracking) is Tracking
    tracking.parameters({"a": 1})
    tracking.metrics({"b": 1.0})
    tracking.artifact(tmp_path)
    tracking.end("FINISHED")
    assert tracking.loggers() == []
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_loaded_by_the_id_of_its_run(home_with_runs, monkeypatch):
    import reasonir
    from reasonir.errors import InputError

    home, folder, entry, _ = home_with_runs
    monkeypatch.setenv("REASONIR_HOME", str(home))
    texts = ["Bees dance.", "It rains."]
    by_id = reasonir.load(entry.info.run_id).score(["why does it rain"], texts)
    assert by_id.tolist() == reasonir.load(folder).score(["why does it rain"], texts).tolist()
    with pytest.raises(InputError, match=r"no run in .* has this id: give the run's folder"):
        reasonir.load("0" * 32)


def test_jobs_side_by_side_do_not_race_for_what_mlflow_makes_once(tmp_path):
    at_once = Barrier(6)

    def note(number):
        folder = tmp_path / str(number)
        tracking = open_tracking(
            Loggers(mlflow=True), tmp_path, experiment_name="race", name=str(number), folder=folder, tags={}
        )
        with tracking.closing():
            at_once.wait()
            tracking.dataset("beir", "a1b2", "/data", "training")

    with ThreadPoolExecutor(6) as jobs:
        list(jobs.map(note, range(6)))
    experiment = client_of(tmp_path).get_experiment_by_name("race").experiment_id
    runs = client_of(tmp_path).search_runs([experiment])
    assert [len(entry.inputs.dataset_inputs) for entry in runs] == [1] * 6
