import pytest

from reasonir.data.holdout import dev_task, hold_out, relevant_keys
from reasonir.data.prepared import prepare, read
from reasonir.errors import InputError
from reasonir.types import Document, Example
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
    assert relevant_keys(dev_task(rows, split.dev, documents=40, seed=0)) == held


def test_it_is_a_function_of_the_seed(tmp_path):
    rows = rows_of(PAIRS, tmp_path)
    assert hold_out(rows, 4, seed=1).dev.tolist() == hold_out(rows, 4, seed=1).dev.tolist()
    assert hold_out(rows, 4, seed=1).dev.tolist() != hold_out(rows, 4, seed=2).dev.tolist()
    assert len(hold_out(rows, 4, seed=1).dev) == 4
    assert len(hold_out(rows, 0, seed=1).dev) == 0


def test_one_large_component_cannot_be_split(tmp_path):
    rows = rows_of([(f"q{i}", ["shared"], []) for i in range(10)], tmp_path)
    with pytest.raises(InputError, match=r"loader.holdout=0.2: no 2 of 10 .*has 10\).*loader.holdout=0"):
        hold_out(rows, 0.2, seed=0)


def test_the_development_task_searches_other_rows_documents_too(tmp_path):
    rows = rows_of(PAIRS, tmp_path)
    split = hold_out(rows, 6, seed=0)
    task = dev_task(rows, split.dev, documents=15, seed=0)
    assert len(task.queries) == 6
    assert 15 <= len(task.corpus) <= 18
    assert len(set(task.corpus.texts)) == len(task.corpus)
    assert all(doc_id in task.corpus.ids for judged in task.qrels.values() for doc_id in judged)
