from dataclasses import replace

import numpy as np
import pytest

from reasonir.data.base import copy_key
from reasonir.data.prepared import prepare, read
from reasonir.data.splits.holdout import held_out_task, hold_out, relevant_keys
from reasonir.errors import InputError
from reasonir.eval.systems import check_task, search_system
from reasonir.index.bm25 import Bm25
from reasonir.types import Document, Example, Text
from tests.data.test_prepared import Given


def rows_of(pairs, home):
    """A prepared set of (query, positives, negatives)."""
    examples = [
        Example(
            f"q{number}",
            query,
            (*(Document(p, p) for p in positives), *(Document(n, n, label=0.0) for n in negatives)),
        )
        for number, (query, positives, negatives) in enumerate(pairs)
    ]
    return read(prepare(Given(examples, mark=repr(pairs)), home))


PAIRS = [
    ("a", ["1", "2"], ["9"]),
    ("b", ["2"], ["7"]),
    ("c", ["3"], ["1"]),
    ("d", ["4"], []),
    ("d ", ["5"], []),
    ("e", ["5"], ["3"]),
    *((f"x{i}", [f"p{i}"], [f"p{i + 1}"]) for i in range(14)),
]


@pytest.mark.parametrize("seed", range(5))
def test_whole_components_are_held_out(tmp_path, seed):
    rows = rows_of(PAIRS, tmp_path)
    split = hold_out(rows, 0.3, seed=seed)
    assert sorted([*split.train, *split.dev]) == list(range(20))
    assert len(split.dev) == 6
    for group in ({0, 1}, {3, 4, 5}):
        assert group <= set(split.train) or group <= set(split.dev)
    trained = {key for row in split.train for key in rows[int(row)]["pos_keys"]}
    held = {key for row in split.dev for key in rows[int(row)]["pos_keys"]}
    assert not trained & held
    assert relevant_keys(held_out_task(rows, split.dev, name="dev", documents=40)) == held


def test_it_is_a_function_of_the_seed(tmp_path):
    rows = rows_of(PAIRS, tmp_path)
    assert hold_out(rows, 4, seed=1).dev.tolist() == hold_out(rows, 4, seed=1).dev.tolist()
    assert hold_out(rows, 4, seed=1).dev.tolist() != hold_out(rows, 4, seed=2).dev.tolist()
    assert len(hold_out(rows, 4, seed=1).dev) == 4
    assert len(hold_out(rows, 0, seed=1).dev) == 0


def test_one_large_component_cannot_be_split(tmp_path):
    rows = rows_of([(f"q{i}", ["shared"], []) for i in range(10)], tmp_path)
    with pytest.raises(InputError, match=r"loader.dev_size=0.2: no 2 of 10 .*has 10\).*loader.dev_size=0"):
        hold_out(rows, 0.2, seed=0)


def test_the_development_task_searches_other_rows_documents_too(tmp_path):
    rows = rows_of(PAIRS, tmp_path)
    split = hold_out(rows, 6, seed=0)
    task = held_out_task(rows, split.dev, name="dev", documents=15)
    assert len(task.queries) == 6
    assert 15 <= len(task.corpus) <= 18
    assert len(set(task.corpus.texts)) == len(task.corpus)
    assert all(doc_id in task.corpus.ids for labels in task.qrels.values() for doc_id in labels)


def test_the_test_part_is_the_same_for_every_seed_and_apart_from_the_others(tmp_path):
    rows = rows_of(PAIRS, tmp_path)
    splits = [hold_out(rows, 4, test=0.2, seed=seed) for seed in range(4)]
    assert len({tuple(split.test) for split in splits}) == 1
    assert len({tuple(split.dev) for split in splits}) > 1
    for split in splits:
        assert (len(split.dev), len(split.test)) == (4, 4)
        assert sorted([*split.train, *split.dev, *split.test]) == list(range(20))
        keys = [
            {key for row in part for key in rows[int(row)]["pos_keys"]} for part in (split.train, split.dev, split.test)
        ]
        assert not keys[0] & keys[1]
        assert not keys[0] & keys[2]
        assert not keys[1] & keys[2]


def test_a_share_holds_out_one_query_at_least_and_leaves_two(tmp_path):
    rows = rows_of([(f"q{i}", [f"p{i}"], []) for i in range(4)], tmp_path)
    split = hold_out(rows, 0.05, test=0.05, seed=0)
    assert (len(split.train), len(split.dev), len(split.test)) == (2, 1, 1)
    with pytest.raises(InputError, match="4 queries are too few to hold out 2 for development and 1 for testing"):
        hold_out(rows, 2, test=0.05, seed=0)


SIDES = {"q": lambda i: ([f"p{i}"], []), "n": lambda i: ([], [f"p{i}"])}


def test_queries_without_a_relevant_document_are_not_held_out(tmp_path):
    rows = rows_of(
        [*((f"q{i}", [f"p{i}"], []) for i in range(6)), *((f"n{i}", [], [f"p{i}"]) for i in range(6))], tmp_path
    )
    split = hold_out(rows, 3, test=3, seed=0)
    assert sorted([*split.dev, *split.test]) == list(range(6))


def test_every_document_is_searched_where_no_number_is_given(tmp_path):
    rows = rows_of(PAIRS, tmp_path)
    task = held_out_task(rows, hold_out(rows, 0, test=2, seed=0).test, name="own")
    assert len(task.corpus) == len({text for _, positives, negatives in PAIRS for text in (*positives, *negatives)})


def test_held_out_queries_keep_their_excluded_documents(tmp_path):
    own = Document("o", "own text")
    examples = [
        Example("q1", "a", (Document("d1", "one"),), excluded=(copy_key("OWN text"), copy_key("unknown"))),
        Example("q2", "b", (own,), excluded=(copy_key("own  text"), copy_key("one"))),
        Example("q3", "c", (Document("d3", "three"),)),
    ]
    rows = read(prepare(Given(examples), tmp_path))
    task = held_out_task(rows, np.arange(3), name="own")
    assert task.excluded == {
        "q1": frozenset({str(copy_key("own text"))}),
        "q2": frozenset({str(copy_key("one"))}),  # its own text is relevant to it
    }
    check_task(task)
    asked = replace(task, queries={**task.queries, "q1": Text("own text")})
    assert str(copy_key("own text")) not in search_system(Bm25(), depth=10)(asked)["q1"]
