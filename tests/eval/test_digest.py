"""Tests of the digests of tasks."""

from dataclasses import replace

import pytest

from reasonir.eval.digest import different_parts, digests_of, whole
from reasonir.types import Corpus, Task, Text

TASK = Task(
    "t",
    {"q": Text("why", "find"), "r": Text("how")},
    Corpus(["a", "b"], ["one", "two"]),
    {"q": {"a": 1}, "r": {"b": 2, "a": 0}},
    excluded={"q": frozenset({"b"})},
    judgements={"corrected": {"q": {"a": 1, "b": 1}, "r": {"b": 1}}},
)


def parts_changed(**changes):
    return different_parts(digests_of([TASK])["t"], digests_of([replace(TASK, **changes)])["t"])


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"name": "t", "protocol": {"x": "y"}}, []),
        ({"corpus": Corpus(["b", "a"], ["two", "one"])}, []),
        ({"queries": {"r": Text("how"), "q": Text("why", "find")}}, []),
        ({"qrels": {"r": {"a": 0, "b": 2}, "q": {"a": 1}}}, []),
        ({"corpus": Corpus(["a", "b"], ["one", "two "])}, ["documents"]),
        ({"corpus": Corpus(["a", "b"], ["two", "one"])}, ["documents"]),
        ({"corpus": Corpus(["a", "b", "c"], ["one", "two", "one"])}, ["documents"]),
        ({"queries": {"q": Text("why", "solve"), "r": Text("how")}}, ["queries"]),
        ({"queries": {"q": Text("why"), "r": Text("how", "find")}}, ["queries"]),
        ({"qrels": {"q": {"a": 2}, "r": {"b": 2, "a": 0}}}, ["judgements"]),
        ({"qrels": {"q": {"a": 1}, "r": {"b": 2}}}, ["judgements"]),
        ({"relevant_from": 2}, ["judgements"]),
        ({"excluded": {}}, ["excluded"]),
        ({"candidates": {"q": ["a"]}}, ["candidates"]),
    ],
)
def test_each_part_has_its_digest_whatever_the_order(changes, parts):
    assert parts_changed(**changes) == parts


def test_items_are_not_confused_across_their_borders():
    first, second = (
        digests_of([replace(TASK, corpus=Corpus(ids, texts))])["t"]["documents"]
        for ids, texts in ((["ab"], ["c"]), (["a"], ["bc"]))
    )
    assert first != second


def test_further_judgements_have_their_own_digests_and_counts_are_readable():
    digests = digests_of([TASK])
    assert set(digests) == {"t", "t_corrected"}
    assert different_parts(digests["t"], digests["t_corrected"]) == ["judgements"]
    counts = {part: digest.split("-")[0] for part, digest in digests["t"].items()}
    assert counts == {"documents": "2", "excluded": "1", "queries": "2", "candidates": "0", "judgements": "3"}
    assert len(digests["t"]["documents"]) == len("2-") + 16


def test_tasks_without_documents_are_compared_by_the_rest():
    bare = digests_of([replace(TASK, corpus=Corpus([], []), excluded={})])["t"]
    assert different_parts(digests_of([TASK])["t"], bare) == []
    assert set(bare) == {"queries", "candidates", "judgements"}


def test_one_digest_covers_all_parts():
    first = digests_of([TASK])["t"]
    assert whole(first) == whole(dict(reversed(first.items())))
    assert whole(first) != whole(digests_of([TASK])["t_corrected"])
    assert len(whole(first)) == 16
