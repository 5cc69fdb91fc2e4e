import json
from dataclasses import replace

import pytest

from reasonir.errors import InputError
from reasonir.eval.results import Results, read_values
from reasonir.eval.systems import check_task, evaluate_systems, random_system, search_system
from reasonir.eval.trec import read_run
from reasonir.index.bm25 import Bm25
from reasonir.types import Corpus, Task, Text

TASK = Task(
    "toy",
    {"q1": Text("salt"), "q2": Text("bees")},
    Corpus(["a", "b", "c"], ["salt melts ice", "bees dance", "copper"]),
    {"q1": {"a": 1}, "q2": {"c": 1}},
    {"q2": frozenset({"b"})},
    {"collection": "toy"},
)


def test_systems_are_evaluated_on_the_same_queries_and_written(tmp_path):
    results = evaluate_systems(
        [TASK],
        {"bm25": search_system(Bm25(), depth=10), "random": random_system(depth=10, seed=0)},
        Results({"depth": 10}),
    )
    figures = results.figures()["toy"]
    assert figures["bm25"]["ndcg_at_10"] == 0.5
    results.write(tmp_path, evaluated="bm25")
    document = json.loads((tmp_path / "results.json").read_text())
    assert document["results"]["toy"]["bm25"]["recall_at_10"] == 0.5
    assert document["protocol"] == {"depth": 10, "tasks": {"toy": {"collection": "toy"}}}
    assert set(document["differences"]["toy"]) == {"random"}
    assert document["intervals"]["toy"]["bm25"]["ndcg_at_10"]["mean"] == 0.5
    assert read_run(tmp_path / "runs" / "toy.bm25.trec") == {"q1": results.runs["toy"]["bm25"]["q1"]}
    assert read_values(tmp_path) == results.values
    assert read_values(tmp_path / "nowhere") == {}


def test_random_rankings_respect_exclusions_and_the_seed():
    run = random_system(depth=10, seed=1)(TASK)
    assert set(run["q1"]) == {"a", "b", "c"}
    assert set(run["q2"]) == {"a", "c"}
    assert random_system(depth=10, seed=1)(TASK) == run


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": Corpus([], [])}, "the corpus is empty"),
        ({"queries": {}}, "no query has judgements"),
        ({"qrels": {"q1": {"a": 0}, "q2": {"c": 1}}}, "query 'q1' has no relevant document"),
        (
            {"qrels": {"q1": {"z": 1}, "q2": {"c": 1}}},
            "query 'q1' has relevant document 'z', which isn't in the corpus",
        ),
        ({"excluded": {"q1": frozenset({"a"})}}, "query 'q1' excludes its relevant document 'a'"),
    ],
)
def test_inconsistent_tasks_are_refused(change, message):
    with pytest.raises(InputError, match=f"task toy: {message}"):
        check_task(replace(TASK, **change))


def test_tasks_that_share_documents_keep_their_own_candidates():
    candidates = [{"q1": ["a", "b"], "q2": ["c"]}, {"q1": ["b", "c", "a"], "q2": ["a", "c"]}]
    tasks = [replace(TASK, name=f"t{n}", candidates=given, excluded={}) for n, given in enumerate(candidates)]
    results = evaluate_systems(tasks, {"random": random_system(depth=10, seed=0)}, Results())
    for task in tasks:
        ranked = results.runs[task.name]["random"]
        assert {query: set(docs) for query, docs in ranked.items()} == {q: set(d) for q, d in task.candidates.items()}
