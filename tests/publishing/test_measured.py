"""What a card says besides the run's files: compressed vectors of single-vector retrievers, and examples."""

import pytest
from huggingface_hub import ModelCard

from reasonir.publishing.hub import save
from reasonir.publishing.measured import evaluation_tasks, measure
from reasonir.runs.folder import saved_config
from reasonir.utils.state import read_json
from tests.helpers import SENTENCES
from tests.running import run

SMALL = ("model=tiny", "model/head=biencoder", "hardware=cpu", "logger=csv", "loader.workers=0", "loader.batch_size=4")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(scope="module")
def folder(home):
    sizes = ("model.head.dimensions=[16,64]", "trainer.max_steps=2", "evaluation.baselines=[]")
    done = run("train", *SMALL, *sizes, "data=demo", "data.variants=1", "eval=demo", home=home)
    assert done.status == 0, done.err
    return done.folder


def test_the_card_has_the_quality_of_every_form_of_the_vectors(folder, home, tmp_path):
    measured = measure(folder, home=home)
    trained = read_json(folder / "results.json", remedy="")["results"]["demo"]["trained"]
    assert measured.compressed[0].metrics["ndcg_at_10"] == pytest.approx(trained["ndcg_at_10"], abs=1e-6)
    assert {each.size for each in measured.compressed} == {16, 64}
    save(folder, tmp_path / "saved", name="me/rain", measured=measured)
    text = (tmp_path / "saved" / "README.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "binary" in line]
    binary = measured.compressed[2]
    assert rows[0] == ["64", "binary", "8", *(f"{binary.metrics[m]:.4f}" for m in ("ndcg_at_10", "recall_at_100"))]
    assert ModelCard(text).data.widget == list(measured.examples)
    for example in measured.examples:
        assert len(example["sentences"]) > 1
        assert all(len(each) <= 300 for each in (example["source_sentence"], *example["sentences"]))


def test_queries_held_out_of_the_runs_data_are_found_again(home, tmp_path):
    rows = tmp_path / "rows.csv"
    lines = [f"what about {i} {SENTENCES[i % 12]},{SENTENCES[i % 12]} {i}".replace(";", "") for i in range(40)]
    rows.write_text("\n".join(["query,positive", *(line.replace(", ", " ") for line in lines)]))
    data = ("data=triplets", f"data.path={rows}", "loader.test_size=0.2", "eval=test_split", "trainer.max_steps=1")
    done = run("train", *SMALL, *data, home=home)
    assert done.status == 0, done.err
    assert saved_config(done.folder)["eval"]["_target_"].endswith("SourceTestSplit")
    (task,) = evaluation_tasks(done.folder, home=home)
    digests = read_json(done.folder / "results.json", remedy="")["protocol"]["digests"]
    assert digests[task.name]["queries"].startswith(f"{len(task.queries)}-")
    trained = read_json(done.folder / "results.json", remedy="")["results"][task.name]["trained"]
    found = measure(done.folder, home=home).compressed[0].metrics["ndcg_at_10"]
    assert found == pytest.approx(trained["ndcg_at_10"], abs=1e-6)
