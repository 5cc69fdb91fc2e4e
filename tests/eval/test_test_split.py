import json
from pathlib import Path

import pytest

from reasonir.data.demo import Demo
from reasonir.data.triplets import Triplets
from reasonir.errors import InputError
from reasonir.eval.demo import DemoBenchmark
from reasonir.eval.test_split import SourceTestSplit
from tests.data.test_documents import paragraph, written
from tests.data.test_triplets import many
from tests.running import run

QUICK = ("experiment=demo_tiny", "trainer.max_steps=1", "evaluation.baselines=[]", "eval=test_split")
JUDGE = ("eval=test_split", "logger=csv", "evaluation.baselines=[]")


def figures(folder):
    return json.loads((folder / "results.json").read_text())["results"]


def test_the_demos_test_split_is_that_of_its_benchmark():
    (own,), (other,) = Demo().tests(), DemoBenchmark().tasks()
    assert own.queries == other.queries
    assert own.qrels == other.qrels


class Nothing:
    """Data without held-out queries."""

    def tests(self):
        return []


@pytest.mark.parametrize("data", [None, Nothing()])
def test_no_held_out_queries_is_an_error(data):
    with pytest.raises(InputError, match="t keeps no test queries"):
        list(SourceTestSplit(Triplets("x/t.csv"), data).tasks())


def test_without_data_a_run_has_to_be_named():
    with pytest.raises(InputError, match="name a run"):
        list(SourceTestSplit(None).tasks())


@pytest.fixture(scope="module")
def trained(home, tmp_path_factory):
    """A run on raw documents, evaluated on their test queries, and the file."""
    path = written(tmp_path_factory.mktemp("raw"), 30)
    assert run("prepare", "data=documents", f"data.path={path}", home=home).status == 0
    done = run("train", *QUICK, "data=documents", f"data.path={path}", "data.seed=5", home=home)
    assert done.status == 0, done.err
    return done.folder, path


def test_a_run_is_evaluated_again_on_the_test_queries_of_its_source(trained, home):
    folder, _ = trained
    again = run("evaluate", f"run={folder}", *JUDGE, home=home)
    assert again.status == 0, again.err
    first, second = figures(folder)["documents"]["trained"], figures(again.folder)["documents"]["trained"]
    assert second == pytest.approx(first, abs=1e-6)
    protocol = json.loads((again.folder / "results.json").read_text())["protocol"]["tasks"]["documents"]
    assert (protocol["split"], protocol["shares"], protocol["queries"]) == ("test", "0.8/0.1/0.1", "inverse cloze")


@pytest.mark.parametrize(
    "given", [("data=documents", "data.path={path}", "data.seed=6"), ("+data.seed=6",), ("+data.splits=[0.5,0.0,0.5]",)]
)
def test_other_shares_or_seeds_cant_be_composed_with_a_run(trained, home, given):
    folder, path = trained
    refused = run("evaluate", f"run={folder}", *JUDGE, *(word.format(path=path) for word in given), home=home)
    assert refused.status == 2
    assert "data= can't be chosen for run=" in refused.err


def test_a_file_that_changed_since_is_refused(trained, home):
    folder, path = trained
    before = Path(path).read_text()
    Path(path).write_text(f"{before}\n\n{paragraph(99)}")
    try:
        for command in (("evaluate", f"run={folder}", *JUDGE), ("train", f"resume={folder}")):
            refused = run(*command, home=home)
            assert refused.status == 2
            assert "was trained on the prepared set" in refused.err
    finally:
        Path(path).write_text(before)


def test_a_model_as_it_is_is_evaluated_on_the_queries_that_training_holds_out(home, tmp_path):
    given = ("model=tiny", "hardware=cpu", "data=triplets", f"data.path={many(tmp_path)}", "logger=csv")
    done = run("evaluate", *given, "evaluation.baselines=[]", home=home)
    assert done.status == 0, done.err
    trained = run("train", *given, "trainer.max_steps=1", "evaluation.baselines=[untrained]", "seed=7", home=home)
    assert trained.status == 0, trained.err
    assert figures(done.folder)["t"]["untrained"].keys() == figures(trained.folder)["t"]["trained"].keys()
    first, second = (set(queries(each.folder)) for each in (done, trained))
    assert first == second
    assert len(first) == 2


def queries(folder):
    import pyarrow.parquet as pq

    return pq.read_table(folder / "per_query.parquet")["query_id"].to_pylist()


@pytest.fixture(scope="module")
def on_triplets(home, tmp_path_factory):
    """A run on own rows, with the default evaluation."""
    path = many(tmp_path_factory.mktemp("rows"))
    given = ("model=tiny", "hardware=cpu", "data=triplets", f"data.path={path}", "logger=csv", "trainer.max_steps=1")
    done = run("train", *given, "loader.test_size=0.2", "evaluation.baselines=[]", home=home)
    assert done.status == 0, done.err
    return done


def test_own_rows_have_a_dev_and_a_test_split(on_triplets):
    assert "Held out of 40 queries: 2 for development, 8 for testing" in on_triplets.err
    assert "Searching 20 documents for 8 queries" in on_triplets.err
    assert set(figures(on_triplets.folder)) == {"t"}


def test_a_run_is_evaluated_on_its_own_benchmark_by_default(on_triplets, home):
    again = run("evaluate", f"run={on_triplets.folder}", "logger=csv", "evaluation.baselines=[]", home=home)
    assert again.status == 0, again.err
    assert figures(again.folder) == figures(on_triplets.folder)
    other = run(
        "evaluate", f"run={on_triplets.folder}", "eval=demo", "logger=csv", "evaluation.baselines=[]", home=home
    )
    assert set(figures(other.folder)) == {"demo"}


def test_rows_that_changed_since_are_refused(on_triplets, home):
    import yaml

    path = yaml.safe_load((on_triplets.folder / "config.yaml").read_text())["data"]["path"]
    with Path(path).open("a") as stream:
        stream.write('\n{"query": "new", "positive": "one"}')
    refused = run("evaluate", f"run={on_triplets.folder}", "logger=csv", home=home)
    assert refused.status == 2
    assert "was trained on the prepared set" in refused.err


def test_a_collection_is_evaluated_on_its_own_test_split(home, tmp_path):
    for split, first in (("train", 0), ("test", 12)):
        rows = [f"q{n}\td{n}\t1" for n in range(first, first + 12)]
        (tmp_path / "qrels").mkdir(exist_ok=True)
        (tmp_path / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]))
    for name, key in (("corpus", "d"), ("queries", "q")):
        rows = [json.dumps({"_id": f"{key}{n}", "text": f"a {name} text {n}"}) for n in range(24)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    given = ("model=tiny", "hardware=cpu", "data=beir", f"data.path={tmp_path}", "logger=csv", "loader.batch_size=4")
    done = run("train", *given, "trainer.max_steps=1", "evaluation.baselines=[]", home=home)
    assert done.status == 0, done.err
    (protocol,) = json.loads((done.folder / "results.json").read_text())["protocol"]["tasks"].values()
    assert (protocol["split"], protocol["documents"]) == ("test", "24")
    assert set(queries(done.folder)) == {f"q{n}" for n in range(12, 24)}
    (tmp_path / "qrels" / "test.tsv").unlink()
    held = run("train", *given, "trainer.max_steps=1", "evaluation.baselines=[]", home=home)
    assert held.status == 0, held.err
    assert "Held out of 12 queries: 1 for development, 1 for testing" in held.err


def test_a_dry_run_needs_no_test(home, tmp_path):
    done = run("train", *QUICK, "data=documents", f"data.path={written(tmp_path)}", "dry_run=true", home=home)
    assert done.status == 0, done.err
    assert "Plan: lengths in tokens" in done.out
    assert "eval.source" not in done.err


def test_an_error_in_the_source_is_reported_once(home):
    done = run("train", *QUICK, "data=documents", "data.path=x", "data.num_pairs=many", home=home)
    assert done.err.count("expected a whole number") == 1
