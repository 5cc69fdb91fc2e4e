"""The MLflow model of a finished run: one copy of its weights, and the best version of its registered model."""

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.utils.file_utils import local_file_uri_to_path

import reasonir
from reasonir.data.demo import Demo
from reasonir.eval.digest import digests_of, whole
from reasonir.tracking.model_registry import CONTENT, METRIC, package, point_to_best, register
from reasonir.types import Text
from tests.running import run

RUN = (
    *("model=tiny", "model/head=biencoder", "model/prompts=instruct", "data=demo", "eval=demo", "hardware=cpu"),
    *("trainer.max_steps=1", "loader.batch_size=4", "loader.workers=0", "evaluation.baselines=[]", "logger=mlflow"),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A home with one finished run, its folder, and a client."""
    home = tmp_path_factory.mktemp("packaged")
    done = run("train", *RUN, home=home)
    assert done.status == 0, done.err
    assert "UserWarning" not in done.err
    assert "artifacts" not in done.err
    yield home, done.folder, MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    mlflow.set_tracking_uri(None)


def test_the_model_of_a_finished_run_answers_as_the_run_does(finished):
    home, folder, _ = finished
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/demo-biencoder@best")
    texts = ["Warm air rises.", "Copper conducts."]
    (found,) = model.predict([{"query": "why does it rain", "documents": texts, "instruction": "Find causes."}])
    retriever = reasonir.load(folder)
    assert retriever.encoder.head.tokenizer.prompts.takes_instructions
    retriever.add_documents(texts)
    told, untold = (
        retriever.retrieve(query) for query in (Text("why does it rain", "Find causes."), "why does it rain")
    )
    assert found == [hit._asdict() for hit in told]
    assert told != untold
    (weights,) = (home / "mlartifacts").rglob("model.safetensors")
    assert weights.read_bytes() == (folder / "model" / "model.safetensors").read_bytes()


def test_the_version_says_its_metric_and_its_run(finished):
    _, folder, client = finished
    (version,) = client.search_model_versions("name='demo-biencoder'")
    assert version.run_id == (folder / "run_id").read_text()
    history = client.get_metric_history(version.run_id, "dev/ndcg_at_10")
    task = Demo().dev()
    assert version.tags[CONTENT] == whole(digests_of([task])[task.name])
    assert float(version.tags[METRIC]) == max(metric.value for metric in history)


def test_the_best_version_has_the_highest_metric(finished):
    _, _, client = finished
    (version,) = client.search_model_versions("name='demo-biencoder'")
    for name in "ab":
        client.create_registered_model(name)

    def add(name, metric, data="one"):
        tags = {CONTENT: data, **({} if metric is None else {METRIC: repr(metric)})}
        client.create_model_version(name, version.source, version.run_id, tags=tags)
        point_to_best(client, name)

    for metric, best in ((None, None), (0.2, 2), (0.5, 3), (0.5, 3), (None, 3), (1e-5, 3), (0.6, 7)):
        add("a", metric)
        found = client.get_registered_model("a").aliases.get("best")
        assert found is best or int(found) == best
    for metric, data, best in ((0.1, "two", 8), (0.05, "two", 8), (0.3, "one", 7)):
        add("a", metric, data)
        assert int(client.get_registered_model("a").aliases["best"]) == best
    add("b", 0.1)
    assert int(client.get_model_version_by_alias("b", "best").version) == 1


def test_a_model_is_registered_once_however_often_that_is_tried(finished):
    home, _, client = finished
    (version,) = client.search_model_versions("name='demo-biencoder'")
    for _ in range(2):
        register(home, version.source, "rain/2:1", version.run_id, metric=0.5, content="x")
    (registered,) = client.search_model_versions("name='rain_2_1'")
    assert registered.tags[METRIC] == "0.5"


def test_packaging_a_run_leaves_its_status_alone(finished):
    home, folder, client = finished
    before = client.get_run((folder / "run_id").read_text()).info
    package(home, before.run_id, folder / "model", run=folder)
    after = client.get_run(before.run_id).info
    assert (after.status, after.end_time) == (before.status, before.end_time)
    assert mlflow.active_run() is None


def test_a_model_is_logged_once_and_one_whose_logging_was_killed_is_removed(finished):
    home, folder, client = finished
    run = client.get_run((folder / "run_id").read_text())
    (logged,) = run.outputs.model_outputs
    half = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run.info.run_id)
    client.log_outputs(run.info.run_id, [LoggedModelOutput(half.model_id, 0)])
    files = Path(local_file_uri_to_path(half.artifact_location))
    files.mkdir(parents=True)
    assert package(home, run.info.run_id, folder / "model", run=folder) == f"models:/{logged.model_id}"
    assert [each.model_id for each in client.get_run(run.info.run_id).outputs.model_outputs] == [logged.model_id]
    assert not files.exists()
    assert files.parent.is_dir()
