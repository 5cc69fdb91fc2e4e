"""Queries evaluated with texts from a file."""

import json

import pytest

from reasonir.errors import InputError
from reasonir.eval.digest import digests_of
from reasonir.eval.expansion import Expansion
from reasonir.eval.results import read_values
from reasonir.types import Corpus, Task, Text
from tests.running import run


def task(name="a"):
    queries = {"1": Text("why", "find"), "2": Text("how")}
    return Task(name, queries, Corpus(["d"], ["text"]), {"1": {"d": 1}, "2": {"d": 1}})


def rows(file, *given):
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    return str(file)


BOTH = ({"id": "1", "query": "because"}, {"id": "2", "query": "so"})


@pytest.mark.parametrize(
    ("way", "text", "stamp"),
    [
        ("replace", "because", "x.jsonl (replace)"),
        ("append", "why\n\nbecause", "x.jsonl (append)"),
        ("repeat", "why\n\nwhy\n\nwhy\n\nbecause", "x.jsonl (repeat 3)"),
    ],
)
def test_queries_are_replaced_or_followed_by_their_expansions(tmp_path, way, text, stamp):
    file = rows(tmp_path / "x.jsonl", *BOTH)
    (expanded,) = Expansion(file, way, times=3).apply([task()])
    assert expanded.queries["1"] == Text(text, "find")
    assert expanded.protocol["queries"] == stamp
    assert digests_of([expanded]) != digests_of([task()])
    assert expanded.qrels == task().qrels


def test_rows_of_other_tasks_are_skipped(tmp_path):
    named = [{**row, "task": name, "query": f"{row['query']} {name}"} for name in "ab" for row in BOTH]
    first, second = Expansion(rows(tmp_path / "x.jsonl", *named), "replace").apply([task("a"), task("b")])
    assert (first.queries["1"].text, second.queries["2"].text) == ("because a", "so b")


def test_without_a_file_nothing_changes():
    assert Expansion().apply([task()]) == [task()]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (BOTH[:1], "1 of 2 queries of task a have no row, '2' for one: add them"),
        ((*BOTH, {"id": "1", "query": "other"}), "line 3: query '1' has a second text"),
        (({"id": "1"},), "'query' is missing"),
    ],
)
def test_malformed_files_are_refused_by_row(tmp_path, given, message):
    with pytest.raises(InputError) as refused:
        Expansion(rows(tmp_path / "x.jsonl", *given)).apply([task()])
    assert message in str(refused.value)
    with pytest.raises(InputError, match="doesn't exist"):
        Expansion(str(tmp_path / "y.jsonl")).apply([task()])


def test_a_command_evaluates_with_them_and_refuses_benchmarks_that_cannot(home, tmp_path):
    first = run("evaluate", "model=tiny", "eval=demo", "evaluation.baselines=[]", home=home)
    ids = read_values(first.folder)["demo"]["untrained"]
    given = rows(tmp_path / "x.jsonl", *({"id": query_id, "query": f"text {query_id}"} for query_id in ids))
    option = f"evaluation.expansion.file={given}"
    done = run("evaluate", "model=tiny", "eval=demo", "evaluation.baselines=[]", option, home=home)
    assert done.status == 0, done.err
    (stamp,) = json.loads((done.folder / "results.json").read_text())["protocol"]["tasks"].values()
    assert stamp["queries"] == "x.jsonl (append)"
    refused = run("evaluate", "model=tiny", "model/head=biencoder", "eval=geometry", "eval.path=x", option, home=home)
    assert refused.status == 2
    assert "evaluates more than rankings" in refused.err
