import json

import pytest

from reasonir.data.base import Rejected, content_key
from reasonir.data.triplets import Triplets
from reasonir.errors import InputError
from reasonir.types import Example


def jsonl(folder, *rows, name="t.jsonl"):
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return str(folder / name)


def read(path, **options):
    return [
        (
            example.instruction,
            example.query,
            [document.text for document in example.positives],
            [document.text for document in example.negatives],
        )
        for example in Triplets(path, **options).examples()
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"query": "q", "positive": "p", "negative": "n"}, ("", "q", ["p"], ["n"])),
        ({"anchor": "q", "positive": ["p", "o"]}, ("", "q", ["p", "o"], [])),
        ({"query": "q", "pos": [["", "p"]], "neg": [["find", "n"]]}, ("", "q", ["p"], ["n"])),
        ({"query": ["find it", "q"], "positive": "p", "negatives": ["m", "n"]}, ("find it", "q", ["p"], ["m", "n"])),
        ({"question": "q", "answer": "p", "negative_1": "m", "negative_2": "n"}, ("", "q", ["p"], ["m", "n"])),
        ({"query": "q", "positive": "p", "negative": None}, ("", "q", ["p"], [])),
    ],
)
def test_every_usual_form_of_a_row_is_read(tmp_path, row, expected):
    assert read(jsonl(tmp_path, row)) == [expected]


def test_rows_with_equal_queries_become_one_example(tmp_path):
    path = jsonl(
        tmp_path,
        {"query": "q", "positive": "a", "negative": "b"},
        {"query": "r", "positive": "c"},
        {"query": "q ", "positive": "b", "negative": "d"},
    )
    assert read(path) == [("", "q", ["a", "b"], ["d"]), ("", "r", ["c"], [])]


def test_columns_can_be_named_and_files_be_csv_or_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "t.csv").write_text("ask,good,bad\nq,p,n\n")
    columns = {"query": "ask", "positive": "good", "negative": "bad"}
    assert read(str(tmp_path / "t.csv"), columns=columns) == [("", "q", ["p"], ["n"])]
    pq.write_table(pa.Table.from_pylist([{"query": "q", "positive": ["p"]}]), tmp_path / "t.parquet")
    assert read(str(tmp_path / "t.parquet")) == [("", "q", ["p"], [])]


def test_a_folder_is_read_by_split_and_a_repository_from_the_cache(tmp_path, hub):
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    jsonl(folder, {"query": "q", "positive": "p"}, name="train.jsonl")
    jsonl(folder, {"query": "other", "positive": "p"}, name="test.jsonl")
    assert read(str(folder)) == [("", "q", ["p"], [])]
    hub(folder, "someone/set", kind="dataset")
    assert read("someone/set", split="test") == [("", "other", ["p"], [])]
    with pytest.raises(InputError, match=r"data.split=dev: .* has no file of that name \(it holds"):
        read(str(folder), split="dev")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"query": "q"}], r"line 1: no column for the positive \(positive or .*data.columns.positive=<name>"),
        ([{"text": "q", "positive": "p"}], "line 1: no column for the query"),
        ([{"query": "q", "positive": "p"}, {"query": "r", "positive": " "}], "line 2: 'positive' holds ' '"),
        ([{"query": "q", "positive": []}], "line 1: 'positive' is empty"),
        ([{"query": 3, "positive": "p"}], "line 1: 'query' holds 3, expected a text"),
        ([{"query": "q", "positive": "p", "negative": ["n", 4]}], "line 1: 'negative' holds 4"),
    ],
)
def test_malformed_rows_are_named_with_their_line(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read(jsonl(tmp_path, *rows))


def test_unknown_roles_are_refused():
    with pytest.raises(InputError, match=r"data\.columns\.positiv is unknown"):
        Triplets("x", columns={"positiv": "p"})


def test_documents_that_must_not_be_mined_are_kept_by_their_content(tmp_path):
    rows = [
        {"query": "q", "positive": "p", "source_document": "written from this "},
        {"query": "q", "positive": "r", "source_document": [["", "and this"]]},
        {"query": "s", "positive": "p", "source_document": ""},
    ]
    first, second = Triplets(jsonl(tmp_path, *rows)).examples()
    assert set(first.excluded) == {content_key("written from this"), content_key("and this")}
    assert second.excluded == ()
    (named,) = Triplets(
        jsonl(tmp_path, {"query": "q", "positive": "p", "from": "x"}), columns={"excluded": "from"}
    ).examples()
    assert named.excluded == (content_key("x"),)


def many(folder, count=40):
    """Rows of which two at a time share a positive, each one's negative being the next pair's positive."""
    return jsonl(
        folder,
        *({"query": f"q{n}", "positive": f"p{n // 2}", "negative": f"p{(n // 2 + 1) % 20}"} for n in range(count)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_splits_keep_queries_whose_documents_are_not_trained_on(tmp_path, seed):
    source = Triplets(many(tmp_path), splits=[0.6, 0.2, 0.2], seed=seed)
    found = list(source.examples())
    train = [each for each in found if isinstance(each, Example)]
    dev, (test,) = source.dev(), source.tests()
    asked = [{text.text for text in task.queries.values()} for task in (dev, test)]
    trained = {example.query for example in train}
    assert [len(trained), *map(len, asked)] == [24, 8, 8]
    assert len(trained | asked[0] | asked[1]) == 40
    seen = {document.text for example in train for document in example.documents}
    for task in (dev, test):
        texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
        assert set(texts.values()) == {f"p{n}" for n in range(20)}
        for query_id, text in task.queries.items():
            relevant = {texts[doc_id] for doc_id in task.qrels[query_id]}
            assert relevant == {f"p{int(text.text[1:]) // 2}"}
            assert not relevant & seen
    dropped = [each for each in found if isinstance(each, Rejected)]
    assert {each.kind for each in dropped} == {"held_out_negative"}
    assert len(dropped) + sum(len(example.negatives) for example in train) == 24


def test_without_splits_everything_is_trained_on(tmp_path):
    source = Triplets(many(tmp_path))
    assert len(list(source.examples())) == 40
    assert source.dev() is None
    assert list(source.tests()) == []
    only_test = Triplets(many(tmp_path), splits=[0.9, 0, 0.1])
    assert only_test.dev() is None
    assert len(list(only_test.examples())) == 36 + 4


def test_splits_are_part_of_the_identity(tmp_path):
    path = many(tmp_path)
    given = ({}, {"splits": [0.8, 0.1, 0.1]}, {"splits": [0.9, 0, 0.1]}, {"splits": [0.8, 0.1, 0.1], "seed": 1})
    assert len({json.dumps(Triplets(path, **options).identity()) for options in given}) == 4


@pytest.mark.parametrize(
    ("rows", "splits", "message"),
    [
        ([{"query": f"q{n}", "positive": "same"} for n in range(20)], [0.8, 0.1, 0.1], "no 2 of 20 queries .* has 20"),
        ([{"query": "q", "positive": "p"}], [0.8, 0.1, 0.1], "1 queries leave nothing to train on"),
        ([{"query": "q", "positive": "p"}], [0.8, 0.1], "three numbers that add up to 1"),
    ],
)
def test_splits_that_cannot_be_made_are_refused(tmp_path, rows, splits, message):
    with pytest.raises(InputError, match=message):
        list(Triplets(jsonl(tmp_path, *rows), splits=splits).examples())


def test_a_spreadsheets_csv_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("query,positive,negative\nq,p,n\n", encoding="utf-8-sig")
    assert read(str(tmp_path / "t.csv")) == [("", "q", ["p"], ["n"])]
