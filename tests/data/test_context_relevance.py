"""The context-relevance schema: every form of a row, the selection of texts, and every error."""

import csv
import json
from collections import Counter

import pytest

from reasonir.data.base import Rejected
from reasonir.data.context_relevance import ContextRelevance
from reasonir.data.prepared import prepare, read
from reasonir.errors import InputError
from reasonir.types import Example


def row(number=0, **changed):
    """One relevant text of two sentences, two others of one."""
    return {
        "id": f"r{number}",
        "query": f"why {number}",
        "texts": [f"Yes {number}. No.", f"First {number}.", f"Second {number}."],
        "context_spans": [[[0, 6], [7, 10]], [[0, 8]], [[0, 9]]],
        "context_spans_relevance": [[1, 0], [0], [0]],
        "labels": [1, 0, 0],
        **changed,
    }


def write(folder, *rows, name="set.jsonl"):
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return str(folder / name)


def examples(path, **options):
    return [each for each in ContextRelevance(path, **options).examples() if isinstance(each, Example)]


def test_a_row_becomes_an_example(tmp_path):
    path = write(tmp_path, row(**{"teacher_scores.a/b": [0.9, 0.2, 0.1], "teacher_scores.c": [1, 0, 0]}))
    (found,) = examples(path)
    assert (found.query_id, found.query) == ("r0", "why 0")
    assert [document.label for document in found.documents] == [1, 0, 0]
    first = found.documents[0]
    assert (first.spans, first.span_labels) == (((0, 6), (7, 10)), (1.0, 0.0))
    assert dict(first.teachers) == {"a/b": 0.9, "c": 1.0}
    (one,) = examples(path, teacher_column="teacher_scores.c")
    assert dict(one.documents[0].teachers) == {"c": 1.0}


@pytest.mark.parametrize(
    ("given", "expected"),
    [([0, 1], (0, 1)), ([True, False], (1, 0)), ([1], (0, 1)), ([], (0, 0)), ([1, 0], (1, 0))],
)
def test_relevance_is_a_mask_or_numbers_of_spans(tmp_path, given, expected):
    (found,) = examples(write(tmp_path, row(context_spans_relevance=[given, [0], []])))
    assert found.documents[0].span_labels == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": [1, 0]}, r"line 1: 'labels' has 2 items and 'texts' 3"),
        ({"labels": [1, 0, None]}, r"'labels', item 2, is None"),
        ({"labels": [1, 0, True]}, r"'labels', item 2, is True, expected a number"),
        ({"labels": [1, 0, float("inf")]}, r"'labels', item 2, is inf, expected a number"),
        ({"teacher_scores.c": [1, 0, 1e39]}, r"'teacher_scores.c', item 2, is 1e\+39, expected a number"),
        ({"texts": ["Yes 0. No.", ["a"], "b"]}, r"'texts', item 1, is \['a'\], expected a string"),
        ({"texts": ["Yes 0. No.", "\ud800", "b"]}, r"'texts', item 1, is .*half of a surrogate pair"),
        ({"query": ["why"]}, r"'query' is \['why'\], expected a string"),
        ({"id": ["a"]}, r"'id' is \['a'\], expected a string or a whole number"),
        ({"context_spans_relevance": [[True], [0], [0]]}, r"item 0, is \[True\] for 2 spans"),
        ({"teacher_scores.\ud800": [1, 0, 0]}, r"line 1: 'teacher_scores..ud800' has half of a surrogate pair"),
        ({"labels": "1"}, r"'labels' is '1', expected a list"),
        ({"texts": []}, r"'texts' is empty"),
        ({"texts": ["Yes 0. No.", " ", "b"]}, r"'texts', item 1, is ' '"),
        ({"query": ""}, r"'query' is ''"),
        ({"id": None}, r"'id' is None"),
        ({"context_spans": [[[0, 99]], [], []]}, r"item 0, has \[0, 99\], which isn't within its text of 10 char"),
        ({"context_spans": [[[0, 6], [5, 9]], [], []]}, r"has \[5, 9\], which begins before \[0, 6\] ends"),
        ({"context_spans": [[[3, 3], [5, 9]], [], []]}, r"has \[3, 3\], which isn't within"),
        ({"context_spans": [[0, 6], [], []]}, r"has 0, expected \[start, end\]"),
        (
            {"context_spans_relevance": [[1, 2], [0], [0]]},
            r"'context_spans_relevance', item 0, is \[1, 2\] for 2 spans",
        ),
        ({"context_spans_relevance": [[1, 0, 0], [0], [0]]}, r"is \[1, 0, 0\] for 2 spans: give a 0 or 1"),
        ({"context_spans_relevance": [[0.5, 0.5], [0], [0]]}, r"is \[0.5, 0.5\]"),
        (
            {"texts": ["a", "a", "b"], "context_spans": [[], [], []], "context_spans_relevance": [[], [], []]},
            r"'texts', item 1, is a duplicate with other labels",
        ),
        ({"teacher_scores.c": [1, 0]}, r"'teacher_scores.c' has 2 items"),
    ],
)
def test_inconsistent_rows_are_named(tmp_path, changed, message):
    path = write(tmp_path, row(**changed))
    with pytest.raises(InputError, match=message):
        examples(path)


def test_a_missing_column_or_teacher_is_named(tmp_path):
    with pytest.raises(InputError, match=r"'context_spans' is missing \(the row has id, query, texts, "):
        examples(write(tmp_path, {key: value for key, value in row().items() if key != "context_spans"}))
    path = write(tmp_path, row(**{"teacher_scores.a": [0.9, 0.2, 0.1]}), row(1))
    with pytest.raises(InputError, match=r"line 2: data.teacher_column=teacher_scores.a doesn't exist, .* are none"):
        examples(path, teacher_column="teacher_scores.a")


def test_items_takes_relevant_texts_and_then_draws(tmp_path):
    rows = [row(n, labels=[0, 0, 1]) for n in range(20)] + [
        row(99, texts=["a"], context_spans=[[]], context_spans_relevance=[[]], labels=[1])
    ]
    path = write(tmp_path, *rows)
    found = examples(path, items=2)
    assert [example.query_id for example in found] == [f"r{n}" for n in range(20)]
    assert all([document.label for document in example.documents] == [1, 0] for example in found)
    drawn = Counter(example.documents[1].text.split()[0] for example in found)
    assert set(drawn) == {"Yes", "First"}
    assert examples(path, items=2) == found
    assert examples(path, items=2, seed=1) != found
    rejected = [each for each in ContextRelevance(path, items=2).examples() if isinstance(each, Rejected)]
    assert [(each.kind, each.location) for each in rejected] == [("rows_with_too_few_texts", "row 21, r99")]


def test_texts_are_filtered_by_their_share_of_helpful_sentences(tmp_path):
    given = row(context_spans_relevance=[[1, 0], [1], [0]], labels=[1, 0, 0])
    path = write(tmp_path, given)

    def kept(**options):
        return [document.text.split()[0] for example in examples(path, **options) for document in example.documents]

    assert kept(filter_zero_relevance=2) == ["First", "Yes"]
    assert kept(filter_zero_relevance=1, hardest=True) == ["Yes"]
    assert kept(filter_zero_relevance=3) == []
    assert kept(filter_zero_relevance=1, keep_first=True) == ["Yes"]
    # the filter comes before items
    assert kept(filter_zero_relevance=2, items=2) == ["Yes", "First"]
    (rejected,) = ContextRelevance(path, filter_zero_relevance=1).examples()
    assert rejected.kind == "rows_without_a_relevant_text"


def test_rows_are_repeated_before_they_are_sampled(tmp_path):
    path = write(tmp_path, *(row(n) for n in range(10)))

    def ids(**options):
        return [example.query_id for example in examples(path, **options)]

    assert Counter(name.split("#")[0] for name in ids(upsample_factor=2.5)).total() == 25
    assert len(set(ids(upsample_factor=2.5))) == 25
    assert len(ids(n_samples=0.25)) == 3
    assert len(ids(n_samples=4)) == 4
    assert ids(n_samples=1.0) == ids()
    assert len(ids(upsample_factor=3, n_samples=20)) == 20
    assert len(ids(upsample_factor=3, n_samples=0.5)) == 15
    assert ids(n_samples=4) == ids(n_samples=4) != ids(n_samples=4, seed=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": 1}, "items=1: give 2"),
        ({"upsample_factor": 0.5}, "upsample_factor=0.5: give 1"),
        ({"n_samples": 1.5}, "n_samples=1.5: give a share"),
        ({"n_samples": 0}, "n_samples=0"),
        ({"keep_first": True}, "keep_first=true has no effect without filter_zero_relevance"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ContextRelevance("x", **options)


def test_folders_saved_sets_and_repositories_are_read(tmp_path, hub):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset, DatasetDict

    repository = tmp_path / "repository"
    (repository / "freq2").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row(1)]), repository / "freq2" / "train-00000-of-00001.parquet")
    (repository / "data" / "other").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row(2)]), repository / "data" / "other" / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist([row(5)]), repository / "data" / "train-00000-of-00001.parquet")
    hub(repository, "someone/set", kind="dataset")
    assert [e.query_id for e in examples("someone/set", subset="freq2")] == ["r1"]
    assert [e.query_id for e in examples("someone/set", subset="default")] == ["r5"]
    assert [e.query_id for e in examples("someone/set", subset="other")] == ["r2"]
    with pytest.raises(InputError, match=r"data.split=test of data.subset=freq2: .* has no such file \(it has train"):
        examples("someone/set", subset="freq2", split="test")
    parts = DatasetDict({"train": Dataset.from_list([row(3)]), "validation": Dataset.from_list([row(4)])})
    parts.save_to_disk(tmp_path / "saved")
    assert [e.query_id for e in examples(str(tmp_path / "saved"), split="validation")] == ["r4"]
    parts["train"].save_to_disk(tmp_path / "one")
    assert [e.query_id for e in examples(str(tmp_path / "one"))] == ["r3"]


def test_the_development_split_orders_each_rows_own_texts(tmp_path):
    write(tmp_path, row(0), name="train.jsonl")
    write(tmp_path, row(1), row(2), name="validation.jsonl")
    task = ContextRelevance(str(tmp_path), dev_split="validation").dev()
    assert list(task.queries) == ["r1", "r2"]
    assert len(task.corpus) == 6
    for query, candidates in task.candidates.items():
        assert list(task.qrels[query].values()) == [1, 0, 0]
        assert list(task.qrels[query]) == candidates


def test_a_prepared_set_keeps_spans_and_teachers(tmp_path):
    path = write(tmp_path, *(row(n, **{"teacher_scores.a": [0.9, 0.2, 0.1]}) for n in range(3)))
    rows = read(prepare(ContextRelevance(path, items=2), tmp_path))
    assert rows[0]["spans"] == [[[0, 6], [7, 10]], rows[0]["spans"][1]]
    assert rows[0]["teacher.a"][0] == pytest.approx(0.9)


def test_ids_may_be_numbers_and_are_unique(tmp_path):
    assert [each.query_id for each in examples(write(tmp_path, row(id=0), row(1, id=7)))] == ["0", "7"]
    with pytest.raises(InputError, match="line 2: duplicate id '7'"):
        examples(write(tmp_path, row(id=7), row(1, id="7")))


def test_a_csv_holds_lists_as_json(tmp_path):
    with (tmp_path / "set.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerows([row(), [each if isinstance(each, str) else json.dumps(each) for each in row().values()]])
    assert examples(str(tmp_path / "set.csv")) == examples(write(tmp_path, row()))


def test_a_damaged_file_of_datasets_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "data-00000-of-00001.arrow").write_bytes(b"no")
    with pytest.raises(InputError, match=r"data-00000-of-00001\.arrow isn't a readable arrow file"):
        examples(str(tmp_path))
