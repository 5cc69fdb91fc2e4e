import json

import pytest

from reasonir.data.base import Rejected, copy_key
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


def test_a_query_under_two_instructions_is_two_examples(tmp_path):
    path = jsonl(
        tmp_path,
        {"query": ["find", "q"], "positive": "a"},
        {"query": ["solve", "q"], "positive": "b"},
        {"query": ["find", "q"], "positive": [["x", "a"], ["y", "a"]]},
    )
    assert read(path) == [("find", "q", ["a", "a", "a"], []), ("solve", "q", ["b"], [])]


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
    with pytest.raises(InputError, match=r"data.split=dev: .* has no such file \(it has"):
        read(str(folder), split="dev")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"query": "q"}], r"line 1: no column for the positive \(positive or .*data.columns.positive=<name>"),
        ([{"text": "q", "positive": "p"}], "line 1: no column for the query"),
        ([{"query": "q", "positive": "p"}, {"query": "r", "positive": " "}], "line 2: 'positive' is ' '"),
        ([{"query": "q", "positive": []}], "line 1: 'positive' is empty"),
        ([{"query": 3, "positive": "p"}], "line 1: 'query' is 3, expected a string"),
        ([{"query": "q", "positive": "p", "negative": ["n", 4]}], "line 1: 'negative' is 4"),
        ([{"query": ["find", {"a": 1}], "positive": "p"}], "line 1: 'query' is .*'a': 1.*, expected a string"),
        ([{"query": [3, "q"], "positive": "p"}], "line 1: 'query' is 3, expected a string"),
        ([{"query": "q", "positive": "\ud800"}], "line 1: 'positive' is .*half of a surrogate pair"),
        ([{"query": "q", "positive": "p", "query_id": ["a"]}], r"line 1: 'query_id' is \['a'\], expected a string or"),
        (
            [{"query": "q", "positive": "p", "split": ["train"]}],
            r"line 1: 'split' is \['train'\], expected a string or",
        ),
        (
            [{"query": "q", "positive": "p", "query_id": 1}, {"query": "r", "positive": "p", "query_id": "1"}],
            "line 2: 'query_id' '1' is another query's",
        ),
    ],
)
def test_malformed_rows_are_named_with_their_line(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read(jsonl(tmp_path, *rows))


def test_unknown_roles_are_refused():
    with pytest.raises(InputError, match=r"columns\.positiv is unknown"):
        Triplets("x", columns={"positiv": "p"})


def test_documents_that_must_not_be_mined_are_kept_by_their_content(tmp_path):
    rows = [
        {"query": "q", "positive": "p", "source_document": "written from this "},
        {"query": "q", "positive": "r", "source_document": [["", "and this"]]},
        {"query": "s", "positive": "p", "source_document": ""},
    ]
    first, second = Triplets(jsonl(tmp_path, *rows)).examples()
    assert set(first.excluded) == {copy_key("written from this"), copy_key("and this")}
    assert second.excluded == ()
    (named,) = Triplets(
        jsonl(tmp_path, {"query": "q", "positive": "p", "from": "x"}), columns={"excluded": "from"}
    ).examples()
    assert named.excluded == (copy_key("x"),)


def many(folder, count=40):
    """Rows of which two at a time share a positive, each one's negative being the next pair's positive."""
    return jsonl(
        folder,
        *({"query": f"q{n}", "positive": f"p{n // 2}", "negative": f"p{(n // 2 + 1) % 20}"} for n in range(count)),
    )


LABELLED = [
    {"sentence1": "q", "sentence2": "a", "label": 1},
    {"sentence1": "q", "sentence2": "b", "label": 0},
    {"sentence1": "r", "sentence2": "c", "label": "0"},
]


def test_labels_mark_relevant_documents(tmp_path):
    assert read(jsonl(tmp_path, *LABELLED)) == [("", "q", ["a"], ["b"]), ("", "r", [], ["c"])]
    listed = {"query": "q", "positive": ["a", "b", "c"], "labels": [0, 1, True]}
    assert read(jsonl(tmp_path, listed)) == [("", "q", ["b", "c"], ["a"])]
    named = jsonl(tmp_path, {"query": "q", "positive": "a", "gold": 0})
    assert read(named, columns={"label": "gold"}) == [("", "q", [], ["a"])]


def test_a_teachers_scores_are_kept_with_the_documents(tmp_path):
    row = {"query": "q", "pos": ["a"], "neg": ["b", "c"], "pos_scores": [0.9], "neg_scores": [0.4, "0.1"]}
    (example,) = Triplets(jsonl(tmp_path, row)).examples()
    assert [(d.text, d.teachers) for d in example.documents] == [
        ("a", {"scores": 0.9}),
        ("b", {"scores": 0.4}),
        ("c", {"scores": 0.1}),
    ]


def test_an_instruction_has_a_column_of_its_own_too(tmp_path):
    rows = ({"query": "q", "pos": ["a"], "prompt": "find it"}, {"query": "r", "pos": ["a"], "prompt": ""})
    assert [each[:2] for each in read(jsonl(tmp_path, *rows))] == [("find it", "q"), ("", "r")]


def test_rows_of_another_split_are_dropped_and_counted(tmp_path):
    rows = [{"query": f"q{n}", "positive": "p", "split": split} for n, split in enumerate(("train", "test", "train"))]
    found = list(Triplets(jsonl(tmp_path, *rows)).examples())
    assert [each.query for each in found if isinstance(each, Example)] == ["q0", "q2"]
    assert [each.kind for each in found if isinstance(each, Rejected)] == ["row_of_another_split"]
    test = [each for each in Triplets(jsonl(tmp_path, *rows), split="test").examples() if isinstance(each, Example)]
    assert [each.query for each in test] == ["q1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q", "positive": "p", "label": 0.4}, r"'label' is 0\.4, expected 1 .relevant. or 0 .* data=graded"),
        ({"query": "q", "positive": "p", "label": "entailment"}, "'label' is 'entailment', expected 1"),
        ({"query": "q", "positive": ["p", "o"], "labels": [1]}, r"'labels' is \[1\] for 2 documents"),
        ({"query": "q", "positive": ["p", "o"], "label": 1}, "'label' is 1 for 2 documents"),
        (
            {"query": "q", "positive": "p", "negative": "n", "label": 1},
            r"the row has negatives, and 'label' is 1.*ignore",
        ),
        (
            {"query": "q", "positive": "p", "score": 4.2},
            r"column 'score' seems to grade the row.*data.columns.label=score",
        ),
        ({"query": "q", "positive": "p", "human_rating": 4}, r"data.ignore=\[human_rating\]"),
        ({"query": "q", "positive": "p", "is_duplicate": 0}, "column 'is_duplicate'"),
        ({"query": "q", "positive": "p", "teacher_scores.bge": 0.1}, "column 'teacher_scores.bge'"),
        ({"query": "q", "pos": ["p"], "pos_scores": [1, 2]}, r"'pos_scores' is \[1, 2\] for 1 documents"),
        ({"query": "q", "pos": ["p"], "pos_scores": ["high"]}, "'pos_scores' is 'high', expected a number"),
        ({"query": "q", "pos": ["p"], "pos_scores": [float("nan")]}, "'pos_scores' is nan, expected a number"),
        ({"query": "q", "pos": ["p"], "pos_scores": [True]}, "'pos_scores' is True, expected a number"),
        ({"query": "q", "positive": "p", "label": "yes"}, "'label' is 'yes', expected 1"),
        ({"query": "q", "positive": "p", "label": 1.9}, r"'label' is 1\.9, expected 1"),
        ({"query": "q", "pos": ["p"], "prompt": 3}, "'prompt' is 3, expected a string"),
    ],
)
def test_a_column_that_grades_a_row_is_read_or_refused(tmp_path, row, message):
    path = jsonl(tmp_path, {"query": "first", "positive": "p"}, row)
    with pytest.raises(InputError, match=f"line 2: .*{message}"):
        list(Triplets(path).examples())


@pytest.mark.parametrize("name", ["label", "score", "human_rating"])
def test_a_column_may_be_ignored_by_name(tmp_path, name):
    row = {"query": "q", "positive": "p", "negative": "n", name: 4.2}
    assert read(jsonl(tmp_path, row), ignore=[name]) == [("", "q", ["p"], ["n"])]
    other = jsonl(tmp_path, {"query": "q", "positive": "p", "id": 7, "source": "web", "labeler": "me"})
    assert len(read(other)) == 1


def test_columns_and_what_is_ignored_are_part_of_the_identity(tmp_path):
    path = many(tmp_path)
    given = ({}, {"columns": {"query": "query"}}, {"ignore": ["score"]}, {"split": "test"})
    assert len({json.dumps(Triplets(path, **options).identity()) for options in given}) == 4
    assert Triplets(path, columns={"query": None}).identity() == Triplets(path).identity()


def test_a_spreadsheets_csv_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("query,positive,negative\nq,p,n\n", encoding="utf-8-sig")
    assert read(str(tmp_path / "t.csv")) == [("", "q", ["p"], ["n"])]


def test_an_id_of_zero_is_an_id_and_null_is_none(tmp_path):
    rows = [
        {"query": f"q{n}", "positive": "p", "query_id": query_id} for n, query_id in enumerate((None, 0, "", "a b"))
    ]
    assert [each.query_id for each in Triplets(jsonl(tmp_path, *rows)).examples()] == ["q0", "0", "q2", "a b"]


def test_lists_in_csv_cells_are_read_as_lists(tmp_path):
    header = "query,pos,neg,pos_scores,neg_scores\n"
    row = '"[""find"", ""q""]","[""a"", ""b""]","[[""passage"", ""n""]]","[1, 0.5]",[0]\n'
    (tmp_path / "t.csv").write_text(header + row)
    (example,) = Triplets(str(tmp_path / "t.csv")).examples()
    assert (example.instruction, example.query) == ("find", "q")
    assert [(d.text, d.instruction, d.teachers["scores"]) for d in example.documents] == [
        ("a", "", 1.0),
        ("b", "", 0.5),
        ("n", "passage", 0.0),
    ]
    (tmp_path / "t.csv").write_text("query,positive\nq,\"['a', 'b']\"\n")
    with pytest.raises(InputError, match=r"line 2: 'positive' is .* looks like a list"):
        read(str(tmp_path / "t.csv"))


def test_a_split_in_capitals_is_found_in_a_folder(tmp_path):
    (tmp_path / "train.md").write_text("about the files")
    (tmp_path / "train.CSV").write_text("query,positive\nq,p\n")
    assert read(str(tmp_path)) == [("", "q", ["p"], [])]
