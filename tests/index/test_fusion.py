"""Fusion of two rankings, by hand and by command."""

import json
import math
from dataclasses import replace

import pytest

from reasonir.cli.check import problems
from reasonir.errors import InputError
from reasonir.index.bm25 import Bm25
from reasonir.index.exact import Exact
from reasonir.index.fusion import Fusion, fuse
from reasonir.types import Corpus, Text
from tests.helpers import load
from tests.running import run

FIRST = {"q": {"a": 10.0, "b": 6.0, "c": 2.0}}
SECOND = {"q": {"b": 3.0, "d": 1.0}}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("minmax", {"a": 0.6, "b": 0.6 * 0.5 + 0.4, "c": 0.0, "d": 0.0}),
        ("rrf", {"a": 0.6 / 61, "b": 0.6 / 62 + 0.4 / 61, "c": 0.6 / 63, "d": 0.4 / 62}),
        (
            "zscore",
            {
                "a": 0.6 * math.sqrt(1.5) - 0.4,
                "b": 0.4,
                "c": -0.6 * math.sqrt(1.5) - 0.4,
                "d": -0.6 * math.sqrt(1.5) - 0.4,
            },
        ),
    ],
)
def test_scores_are_scaled_within_a_ranking_and_added(method, expected):
    found = fuse(FIRST, SECOND, weight=0.6, method=method)["q"]
    assert found == {doc: pytest.approx(score) for doc, score in expected.items()}


@pytest.mark.parametrize("method", ["minmax", "zscore", "rrf"])
def test_a_ranking_without_documents_or_of_equal_scores_changes_no_order(method):
    for other in ({}, {"q": {}}, {"q": dict.fromkeys("cba", 1.0)} if method != "rrf" else {}):
        found = fuse(FIRST, other, weight=0.5, method=method)["q"]
        assert sorted(found, key=found.__getitem__, reverse=True) == ["a", "b", "c"]
    assert fuse({}, {"q": {"x": 1.0}}, weight=0.5, method=method)["q"].keys() == {"x"}


def test_both_alone_are_what_their_indexes_find_and_excluded_documents_are_in_neither(bert):
    encoder = load(bert, "biencoder").eval()
    corpus = Corpus(["a", "b", "c"], ["salt on roads", "salt in soup", "frozen pipes"])
    queries, exclude = {"q": Text("salt")}, {"q": frozenset({"a"})}
    fusion = Fusion(encoder, Exact, weight=0.5)
    fusion.build(corpus)
    found = fusion.search(queries, 2, exclude=exclude)
    exact, words = Exact(encoder), Bm25()
    for index in (exact, words):
        index.build(corpus)
    assert fusion.parts == (exact.search(queries, 1000, exclude=exclude), words.search(queries, 1000, exclude=exclude))
    assert found["q"].keys() == {"b"} | fusion.parts[0]["q"].keys() - {"a"}
    assert list(found["q"].values()) == sorted(found["q"].values(), reverse=True)
    with pytest.raises(InputError, match="only evaluations choose it, on development queries: set a weight"):
        replace(fusion, weight=None).search(queries, 2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["index@index.partner=exact"], "index.partner_model=null: name the partner's model"),
        (["index.method=borda"], "index.method=borda: choose minmax, zscore or rrf"),
        (["index.weight=1.5"], "index.weight=1.5: give"),
        (["index@index.own=plaid", "model/head=biencoder"], "holds many vectors per text, but BiEncoder gives one"),
    ],
)
def test_parts_that_cannot_be_fused_are_refused(composed, overrides, message):
    assert message in "\n".join(problems(composed("train", "model=tiny", "index=fusion", *overrides)))


@pytest.mark.parametrize("weight", ["null", "0.3"])
def test_a_run_reports_both_alone_and_a_weight_chosen_on_development_queries(home, weight):
    done = run(
        "train",
        "experiment=demo_tiny",
        "data.variants=1",
        "trainer.max_steps=2",
        "index=fusion",
        f"index.weight={weight}",
        "evaluation.baselines=[bm25]",
        "logger=none",
        home=home,
    )
    assert done.status == 0, done.err
    results = json.loads((done.folder / "results.json").read_text())
    (task,) = results["protocol"]["tasks"]
    assert results["results"][task].keys() == {"bm25", "trained", "trained_alone", "partner_alone"}
    figures = {name: values["ndcg_at_10"] for name, values in results["results"][task].items()}
    assert figures["partner_alone"] == pytest.approx(figures["bm25"])
    assert {"trained_alone", "partner_alone"} <= results["differences"][task].keys()
    if weight == "null":
        chosen = results["protocol"]["fusion"]
        assert chosen["development ndcg_at_10"] >= max(chosen["model alone"], chosen["partner alone"])
        again = run("evaluate", f"run={done.folder}", "index=fusion", "index.weight=null", "eval=demo", home=home)
        assert again.status == 0, again.err
        assert json.loads((again.folder / "results.json").read_text())["protocol"]["fusion"] == chosen
        refused = run("evaluate", "model=tiny", "index=fusion", "index.weight=null", "eval=demo", home=home)
        assert refused.status == 2
        assert "index.weight=null is chosen on development queries, and there are none" in refused.err
    else:
        assert "fusion" not in results["protocol"]


def test_two_models_are_fused(home):
    done = run(
        "evaluate",
        "model=tiny",
        "eval=demo",
        "index=fusion",
        "index@index.partner=exact",
        "+model@index.partner_model=tiny",
        "model/head@index.partner_model.head=biencoder",
        "evaluation.baselines=[]",
        home=home,
    )
    assert done.status == 0, done.err
    results = json.loads((done.folder / "results.json").read_text())
    (systems,) = results["results"].values()
    assert systems.keys() == {"untrained", "untrained_alone", "partner_alone"}
