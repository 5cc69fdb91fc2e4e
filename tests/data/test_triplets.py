import json
import re

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
        ([{"query": "q", "positive": "p", "query_id": []}], r"line 1: 'query_id' is \[\], expected a string or"),
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


TEXTS = {
    "queries": [
        {"query_id": 1, "query": "q 1"},
        {"query_id": 2, "query": "q two"},
        {"query_id": 3, "query": "unused"},
    ],
    "documents": [{"document_id": n, "document": f"d{n}"} for n in range(9)],
}


@pytest.fixture
def by_id(tmp_path):
    """A repository of three configurations, as LightOn's and PyLate's: rows of ids, queries and documents."""
    for name, rows in TEXTS.items():
        (tmp_path / name).mkdir()
        jsonl(tmp_path / name, *rows, name="fiqa-00000-of-00001.jsonl")
    (tmp_path / "scores").mkdir()
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: fiqa\n    path: {name}/fiqa-*\n"
        for name in ("scores", *TEXTS)
    )
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")

    def write(*rows):
        jsonl(tmp_path / "scores", *rows, name="fiqa-00000-of-00001.jsonl")
        return str(tmp_path)

    return write


def scored(path, **options):
    return [
        [(document.text, document.label, document.teachers.get("scores")) for document in example.documents]
        for example in Triplets(path, **options).examples()
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"query": "q", "documents": ["a", "b"], "labels": [0, 1]}, [("b", 1, None), ("a", 0, None)]),
        ({"query": "q", "passages": ["a", "b"], "labels": [1, 0], "scores": [2, 3.5]}, [("a", 1, 2), ("b", 0, 3.5)]),
        ({"query": "q", "documents": ["a", "b"], "scores": [0.5, 0.7]}, [("a", 1, 0.5), ("b", 0, 0.7)]),
        ({"anchor": "q", "positive": "a", "negative_1": "b", "negative_2": "c", "scores": [3, 2, 1]},
         [("a", 1, 3), ("b", 0, 2), ("c", 0, 1)]),
        ({"query": "q", "answer": "a", "label": 0, "score": 0.25}, [("a", 0, 0.25)]),
        ({"query": "q", "positive_passages": [{"docid": "1", "title": "t", "text": "a"}],
          "negative_passages": [{"docid": "2", "title": "", "text": "b"}, {"docid": "3", "text": "c"}]},
         [("t a", 1, None), ("b", 0, None), ("c", 0, None)]),
        ({"query": "q", "document": "a"}, [("a", 1, None)]),
    ],
)  # fmt: skip
def test_lists_scores_and_objects_are_read(tmp_path, row, expected):
    assert scored(jsonl(tmp_path, row)) == [expected]


def test_rows_name_queries_and_documents_by_id(by_id):
    path = by_id(
        {"query_id": 1, "document_ids": [4, 2], "scores": [0.9, 0.1]},
        {"query_id": 2, "document_ids": [7, 0], "scores": [2, 3]},
    )
    options = {"subset": "scores", "split": "fiqa"}
    assert scored(path, **options) == [[("d4", 1, 0.9), ("d2", 0, 0.1)], [("d7", 1, 2), ("d0", 0, 3)]]
    first, _ = Triplets(path, **options).examples()
    assert (first.query, first.query_id, [document.doc_id for document in first.documents]) == (
        "q 1",
        "1",
        ["4", "2"],
    )
    assert "texts" in Triplets(path, **options).identity()


def test_labels_ids_of_positives_and_triplets_of_ids_are_read(by_id):
    options = {"subset": "scores", "split": "fiqa"}
    path = by_id({"query_id": 1, "document_ids": [4, 2], "labels": [0, 1]})
    assert scored(path, **options) == [[("d2", 1, None), ("d4", 0, None)]]
    path = by_id({"query_id": 1, "document_ids": [4, 2, 3], "scores": [1, 2, 3], "positive_ids": [3]})
    assert scored(path, **options) == [[("d3", 1, 3), ("d4", 0, 1), ("d2", 0, 2)]]
    path = by_id(
        {"query_id": "1", "positive_id": "4", "negative_id": "5"},
        {"query_id": "1", "positive_id": "4", "negative_id": "6"},
    )
    assert scored(path, **options) == [[("d4", 1, None), ("d5", 0, None), ("d6", 0, None)]]


def test_texts_may_be_in_another_data_set(by_id, tmp_path):
    path = by_id({"query_id": 1, "document_ids": [4]})
    (tmp_path / "own").mkdir()
    rows = jsonl(tmp_path / "own", {"query_id": 2, "document_ids": [5, 6]}, name="fiqa.jsonl")
    assert scored(rows, split="fiqa", texts=path) == [[("d5", 1, None), ("d6", 0, None)]]
    with pytest.raises(InputError, match=r"rows name their texts by id, and there is no table .* with data.texts"):
        scored(rows, split="fiqa")


def test_ids_without_a_text_are_refused(by_id):
    options = {"subset": "scores", "split": "fiqa"}
    with pytest.raises(InputError, match="line 1: 'document_ids' is '99', the id of no document"):
        scored(by_id({"query_id": 1, "document_ids": [99]}), **options)
    with pytest.raises(InputError, match="'query_id' is '9', the id of no query"):
        scored(by_id({"query_id": 9, "document_ids": [1]}), **options)


def test_long_lists_keep_the_relevant_documents_and_others_evenly_by_score(tmp_path):
    row = {"query": "q", "documents": [f"d{n}" for n in range(9)], "scores": [5, 1, 2, 3, 4, 6, 7, 8, 9]}
    path = jsonl(tmp_path, row)
    assert [text for text, *_ in scored(path, list_size=5)[0]] == ["d0", "d8", "d6", "d4", "d2"]
    assert [text for text, *_ in scored(path, list_size=1)[0]] == ["d0"]
    assert len(scored(path, list_size=20)[0]) == 9
    unscored = jsonl(tmp_path, {"query": "q", "positive": ["a", "b"], "negative": list("cdefgh")}, name="u.jsonl")
    assert [text for text, *_ in scored(unscored, list_size=4)[0]] == ["a", "b", "c", "f"]
    assert Triplets(path, list_size=5).identity() != Triplets(path).identity()


@pytest.mark.parametrize(
    ("row", "layout"),
    [
        ({"anchor": "q", "positive": "p"}, r"pair \(anchor, positive\)"),
        ({"anchor": "q", "positive": "p", "label": 1}, r"labelled pair \(anchor, positive, label\)"),
        ({"query": "q", "positive": "p", "negative": "n"}, r"triplet \(query, positive, negative\)"),
        (
            {"query": "q", "positive": "p", "negative_1": "n", "negative_2": "m"},
            r"n-tuple \(.*negative_1, negative_2\)",
        ),
        ({"query": "q", "pos": ["p"], "neg": ["n"], "pos_scores": [1], "neg_scores": [0]}, "n-tuple with scores"),
        ({"query": "q", "documents": ["p", "n"], "labels": [1, 0]}, r"labelled list \(query, documents, labels\)"),
        ({"query": "q", "documents": ["p", "n"], "scores": [1, 0]}, "scored list"),
    ],
)
def test_the_layout_is_said(tmp_path, caplog, row, layout):
    caplog.set_level("INFO")
    list(Triplets(jsonl(tmp_path, row)).examples())
    assert re.search(f"t.jsonl, line 1 is read as {layout}", caplog.text)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q", "documents": ["a", "b"], "labels": [1]}, r"'labels' is \[1\] for 2 documents"),
        ({"query": "q", "documents": ["a", "b"], "labels": [1, 2]}, "'labels' is 2, expected 1"),
        ({"query": "q", "documents": [], "labels": []}, "'documents' is empty"),
        ({"query": "q", "positive": "p", "negative": "n", "scores": [1]}, r"'scores' is \[1\] for 2 documents"),
        ({"query": "q", "positive": "p", "score": 0.4}, "column 'score' seems to grade the row"),
        ({"query": "q", "positive_passages": [{"title": "t"}]}, "'positive_passages': 'text' is missing"),
        ({"query": "q", "documents": ["a"], "scores": ["high"]}, "'scores' is 'high', expected a number"),
    ],
)
def test_lists_that_cannot_be_used_are_named(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        read(jsonl(tmp_path, row))
