import csv
import json
from pathlib import Path

import pytest

from reasonir.data.files.ratings import RatingColumns
from reasonir.data.graded import Graded
from reasonir.data.prepared import prepare, read_manifest
from reasonir.errors import InputError

HEADER = ("query", "entity_id", "name", "description", "relevance")
SHOP = RatingColumns(document="entity_id", text=("name", "description"))
THINGS = ("hammer", "lamp", "drill", "hose", "ladder", "saw", "paint", "tile")


def table(folder, *rows, header=HEADER, name="shop.csv"):
    with (folder / name).open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return str(folder / name)


def shop(folder, queries=48, name="shop.csv"):
    """Searches for things of a colour: the thing in its colour is what is wanted, in another it is near."""
    rows = []
    for number in range(queries):
        thing, other = THINGS[number % 8], THINGS[(number + 3) % 8]
        colour = ("red", "blue", "green", "black", "white", "grey")[number // 8 % 6]
        query = f"{colour} {thing} {number // 48}".removesuffix(" 0")
        for kind, relevance in (
            (f"{colour} {thing}", 3),
            (f"pale {thing}", 2.33),
            (f"{colour} {other}", 1.67),
            (other, 1),
        ):
            rows.append((query, f"{kind} {number % 3}", kind, f"A {kind} for the home.", relevance))
    return table(folder, *rows, name=name)


def source(path, **options):
    return Graded(path, **{"columns": SHOP, "seed": 1, **options})


def everything(path, **options):
    """All queries as examples."""
    return list(source(path, **{"splits": (1.0, 0, 0), **options}).examples())


def labels(example):
    return {document.doc_id: round(document.label, 4) for document in example.documents}


PAIRS = (
    ("angle bracket", 1, "Angle", "Strong and light.", 3),
    ("angle bracket", 2, "Tie", "", 2.33),
    ("angle bracket", 3, "Glue", "Sticks.", 1),
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"1": 1.0, "2": 0.665, "3": 0.0}),
        ({"labels": "binary"}, {"1": 1.0, "2": 1.0, "3": 0.0}),
        ({"labels": "binary", "threshold": 2.5}, {"1": 1.0, "2": 0.0, "3": 0.0}),
        ({"scale": (0, 3), "threshold": 2}, {"1": 1.0, "2": 0.7767, "3": 0.3333}),
    ],
)
def test_labels_run_from_the_lowest_relevance_to_the_highest(tmp_path, options, expected):
    (example,) = everything(table(tmp_path, *PAIRS), **options)
    assert labels(example) == expected
    assert {document.doc_id for document in example.negatives} == {doc for doc, label in expected.items() if label == 0}


def test_documents_join_their_columns_and_are_cut_by_words(tmp_path):
    path = table(tmp_path, *PAIRS)
    texts = [document.text for document in everything(path)[0].documents]
    assert texts == ["Angle. Strong and light.", "Tie", "Glue. Sticks."]
    short = everything(path, max_words=2, lower=True)[0]
    assert [document.text for document in short.documents] == ["angle. strong and", "tie", "glue. sticks."]
    nameless = everything(path, columns=RatingColumns(text=("name",)))[0]
    assert len({document.doc_id for document in nameless.documents}) == 3


def test_spellings_of_a_query_are_one_example_with_one_label_per_document(tmp_path):
    path = table(
        tmp_path,
        ("3 WAY TOGGLE SWITCH", 1, "Switch", "", 3),
        ("3 way toggle  switch", 1, "Switch", "", 2),
        ("3 way toggle switch", 2, "Lamp", "", 1),
    )
    (example,) = everything(path)
    assert example.query == "3 WAY TOGGLE SWITCH"
    assert labels(example) == {"1": 0.75, "2": 0.0}


def test_no_spelling_of_a_training_query_is_in_dev_or_test(tmp_path):
    with Path(shop(tmp_path)).open() as stream:
        header, *rows = csv.reader(stream)
    shouted = [(query.upper(), *rest) for query, *rest in rows]
    given = source(table(tmp_path, *rows, *shouted, header=header, name="both.csv"))
    asked = [
        {query.text.casefold() for query in task.queries.values()} for task in (given.dev(), *given.tests()) if task
    ]
    asked.append({example.query.casefold() for example in given.examples()})
    assert [len(part) for part in asked] == [7, 7, 34]
    assert len(set().union(*asked)) == 48


def test_parts_are_the_same_at_every_reading_whatever_the_order_of_rows(tmp_path):
    first = source(shop(tmp_path))
    with Path(first.path).open() as stream:
        header, *rows = csv.reader(stream)
    turned = source(table(tmp_path, *reversed(rows), header=header, name="turned.csv"))
    again = source(first.path)
    for one in (again, turned):
        assert one.dev().queries.keys() == first.dev().queries.keys()
        assert {each.query_id for each in one.examples()} == {each.query_id for each in first.examples()}
    assert source(first.path, seed=2).dev().queries.keys() != first.dev().queries.keys()


def test_the_manifest_says_what_parts_have_in_common(tmp_path, caplog):
    path = table(
        tmp_path,
        *(("only here", number, f"thing {number}", "", 3) for number in range(3)),
        *(("THERE ", number, f"thing {number}", "", 3) for number in range(1, 3)),
        ("there", 7, "seven", "", 1),
    )
    given = source(path, splits=(0.5, 0, 0.5))
    with caplog.at_level("INFO"):
        manifest = read_manifest(prepare(given, tmp_path))
    assert manifest["shared"]["train/test"] == {"queries": 0, "documents": 2}
    assert manifest["shared"]["train/dev"] == {"queries": 0, "documents": 0}
    assert sorted(part["pairs"] for part in manifest["parts"].values()) == [0, 3, 3]
    assert {part["mean_relevance"] for part in manifest["parts"].values()} == {3.0, 2.3333, None}
    assert "In train and test: 0 queries, 2 documents" in caplog.text


def test_dev_and_test_order_what_was_judged_and_the_lowest_relevance_gains_nothing(tmp_path):
    given = source(shop(tmp_path))
    (task,) = given.tests()
    assert task.relevant_from == 16
    for query_id, judged in task.qrels.items():
        assert sorted(judged.values()) == [0, 8, 16, 24]
        assert list(judged) == list(task.candidates[query_id])
    assert task.protocol["gain"] == "relevance - 1"
    assert given.dev().name == f"{task.name}-dev"


def test_queries_that_cant_be_ranked_are_left_to_the_pairs(tmp_path):
    rows = [row for number in range(9) for row in ((f"q{number}", 1, "one", "", 3), (f"q{number}", 2, "two", "", 2))]
    poor = [("alone", 1, "one", "", 3), ("nothing", 1, "one", "", 2), ("nothing", 2, "two", "", 1)]
    given = source(table(tmp_path, *rows, *poor), splits=(0.1, 0, 0.9))
    (task,) = given.tests()
    everything, relevance = given.pairs("test")
    left = {text.text for query, text in everything.queries.items() if query not in task.queries}
    assert left <= {"alone", "nothing"}
    assert task.protocol["queries_not_ranked"] == str(len(left)) != "0"
    assert relevance.keys() == everything.queries.keys()


def test_random_documents_of_other_training_queries_become_negatives(tmp_path):
    path = shop(tmp_path)
    plain = {each.query_id: each for each in source(path).examples()}
    pool = {document.doc_id for each in plain.values() for document in each.documents}
    for example in source(path, corpus_negatives=3).examples():
        own = {document.doc_id for document in plain[example.query_id].documents}
        drawn = example.documents[len(own) :]
        assert len(drawn) == 3
        assert {document.label for document in drawn} == {0.0}
        assert {document.doc_id for document in drawn} <= pool - own
    again = list(source(path, corpus_negatives=3).examples())
    assert again == list(source(path, corpus_negatives=3).examples())


def test_unusable_rows_are_counted(tmp_path):
    path = table(tmp_path, ("q", 1, "one", "", 3), ("q", 1, "One, in other words", "", 3), ("bad", 1, "one", "", 1))
    counts = read_manifest(prepare(source(path, splits=(1.0, 0, 0)), tmp_path))["report"]
    assert {kind: found["count"] for kind, found in counts.items()} == {"other_wording": 1, "query_without_positive": 1}
    assert "line 3" in counts["other_wording"]["first"][0]


def test_a_sample_is_whole_queries(tmp_path):
    found = everything(shop(tmp_path), sample=10)
    assert len(found) == 10
    assert all(len(example.documents) == 4 for example in found)


def test_json_and_parquet_hold_numbers_and_folders_all_their_files(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [dict(zip(HEADER, row, strict=True)) for row in PAIRS]
    rows[1]["description"] = None
    (tmp_path / "shop.json").write_text(json.dumps(rows))
    expected = everything(table(tmp_path, *PAIRS))
    assert everything(str(tmp_path / "shop.json")) == expected
    folder = tmp_path / "hub" / "data"
    folder.mkdir(parents=True)
    for number, part in enumerate((rows[:2], rows[2:])):
        pq.write_table(pa.Table.from_pylist(part), folder / f"train-{number}.parquet")
    assert everything(str(tmp_path / "hub")) == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("q", 1, "n", "", 3.5), r"line 2: 'relevance' is '3.5', expected a number from 1 to 3.*data.scale"),
        (("q", 1, "n", "", 0), "line 2: 'relevance' is '0'"),
        (("q", 1, "n", "", "good"), "line 2: 'relevance' is 'good'"),
        (("q", 1, "n", "", "nan"), "line 2: 'relevance' is 'nan'"),
        (("q", 1, "n", "", "inf"), "line 2: 'relevance' is 'inf'"),
        (("q", 1, "n", "", "True"), "line 2: 'relevance' is 'True', expected a number from 1 to 3: .*data.scale"),
        (("q", "", "n", "", 3), "line 2: 'entity_id' is ''"),
        (("q", '["a"]', "n", "", 3), r"line 2: 'entity_id' is \['a'\], expected a string or a whole number"),
        (("q", 1, "n", '["more"]', 3), r"line 2: 'description' is \['more'\], expected a string"),
        (("q", 1, " ", "text", 3), "line 2: 'name' is ' ', expected a string"),
        (("", 1, "n", "", 3), "line 2: 'query' is ''"),
        (("q", 1, "n", ""), "line 2: the row doesn't have the 5 columns"),
    ],
)
def test_malformed_rows_are_named_with_their_line(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        everything(table(tmp_path, row))


def test_missing_columns_are_named_with_the_remedy(tmp_path):
    path = table(tmp_path, ("q", "n", 3), header=("query", "name", "relevance"))
    with pytest.raises(
        InputError, match=r"no column 'entity_id', 'description' among query, name, relevance: .*data.columns"
    ):
        everything(path)
    with pytest.raises(InputError, match="no column 'entity_id' among"):
        everything(path, columns=RatingColumns(document="entity_id", text=("name",)))
    with pytest.raises(InputError, match="no column 'grade' among"):
        everything(path, columns=RatingColumns(text=("name",), relevance="grade"))


def test_files_that_arent_utf8_or_hold_nothing_are_refused(tmp_path):
    (tmp_path / "latin.csv").write_bytes("query,text,relevance\ncafé,n,3\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.csv isn't UTF-8 .*iconv"):
        everything(str(tmp_path / "latin.csv"), columns=RatingColumns())
    with pytest.raises(InputError, match=r"the 0 queries of data.path=.*csv leave none for train"):
        everything(table(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no .jsonl or"):
        everything(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": (3, 1)}, r"scale=\[3, 1\]: give the lowest and the highest"),
        ({"scale": (1,)}, r"scale=\[1\]: give 2 values"),
        ({"threshold": 1}, "threshold=1: give a relevance above 1 and up to 3"),
        ({"labels": "hard"}, "labels=hard: choose soft or binary"),
        ({"bins": (2, 1)}, r"bins=\[2, 1\]: give values in ascending order"),
        ({"sample": 1}, "sample=1: give 3 or more"),
        ({"corpus_negatives": -1}, "corpus_negatives=-1: give 0 or more"),
        ({"splits": (0.5, 0.1, 0.1)}, "splits=.* add up to 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Graded("x.csv", **options)


def test_too_few_queries_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"the 1 queries of data.path=\S* leave none for dev"):
        source(table(tmp_path, *PAIRS)).dev()
    rows = [(f"q{number}", number, f"thing {number}", "", 3) for number in range(10)]
    with pytest.raises(InputError, match=r"none of the .* dev queries has 2 rated documents"):
        source(table(tmp_path, *rows)).dev()
