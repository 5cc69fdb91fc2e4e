import json

import pytest

from reasonir.data.base import content_key
from reasonir.data.triplets import Triplets
from reasonir.errors import InputError


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
