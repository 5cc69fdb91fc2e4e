import json

import pytest

from reasonir.data.demo import Demo
from reasonir.data.triplets import Triplets
from reasonir.errors import InputError
from reasonir.eval.demo import Demo as DemoBenchmark
from reasonir.eval.own import Own
from tests.commands import run
from tests.data.test_documents import paragraph, written
from tests.data.test_triplets import many

QUICK = ("experiment=demo_tiny", "trainer.max_steps=1", "evaluation.baselines=[]", "eval=own")
JUDGE = ("eval=own", "logger=csv", "evaluation.baselines=[]")


def figures(folder):
    return json.loads((folder / "results.json").read_text())["results"]


def test_the_demos_own_test_is_that_of_its_benchmark():
    (own,), (other,) = Own(Demo()).tasks(), DemoBenchmark().tasks()
    assert own.queries == other.queries
    assert own.qrels == other.qrels


@pytest.mark.parametrize(
    ("source", "message"), [(None, "name a run"), (Triplets("x/t.csv"), "the source t keeps no test queries")]
)
def test_nothing_kept_back_is_an_error(source, message):
    with pytest.raises(InputError, match=message):
        list(Own(source).tasks())


@pytest.fixture(scope="module")
def trained(home, tmp_path_factory):
    """A run on raw documents, judged on what they keep back, and the file."""
    path = written(tmp_path_factory.mktemp("raw"), 30)
    assert run("prepare", "data=documents", f"data.path={path}", home=home).status == 0
    done = run("train", *QUICK, "data=documents", f"data.path={path}", "data.seed=5", home=home)
    assert done.status == 0, done.err
    return done.folder, path


def test_a_run_is_judged_again_on_what_its_own_source_kept_back(trained, home):
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
    from pathlib import Path

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


def test_a_model_as_it_is_is_judged_on_a_source(home, tmp_path):
    given = ("model=tiny", "hardware=cpu", "data=triplets", f"data.path={many(tmp_path)}")
    done = run("evaluate", *given, "data.splits=[0.8,0.1,0.1]", *JUDGE, home=home)
    assert done.status == 0, done.err
    assert set(figures(done.folder)) == {"triplets"}
    refused = run("evaluate", *given, *JUDGE, home=home)
    assert "keeps no test queries" in refused.err


def test_triplets_with_shares_are_trained_on_and_judged(home, tmp_path):
    options = ("data=triplets", f"data.path={many(tmp_path)}", "data.splits=[0.6,0.2,0.2]")
    done = run("train", *QUICK, *options, home=home)
    assert done.status == 0, done.err
    assert "Searching 20 documents for 8 queries" in done.err
    assert set(figures(done.folder)) == {"triplets"}


def test_a_dry_run_needs_no_test(home, tmp_path):
    done = run("train", *QUICK, "data=documents", f"data.path={written(tmp_path)}", "dry_run=true", home=home)
    assert done.status == 0, done.err
    assert "Plan: lengths in tokens" in done.out
    assert "eval.source" not in done.err


def test_a_mistake_in_the_source_is_said_once(home):
    done = run("train", *QUICK, "data=documents", "data.path=x", "data.num_pairs=many", home=home)
    assert done.err.count("expected a whole number") == 1
