"""Corpora of every form, and the errors in them."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reasonir.data.files.corpora import content_of, read_documents
from reasonir.errors import InputError

ROWS = [{"id": "a", "title": "Bees", "text": "They dance."}, {"id": "b", "title": "", "text": "Copper conducts."}]
READ = {"a": "Bees They dance.", "b": "Copper conducts."}


def jsonl(file, rows):
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def separated(file, rows):
    with file.open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0], delimiter="," if file.suffix == ".csv" else "\t")
        table.writeheader()
        table.writerows(rows)
    return file


def test_every_form_of_a_table_gives_the_same_documents(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    beir = jsonl(tmp_path / "beir" / "corpus.jsonl", [{"_id": row["id"], **row, "metadata": {}} for row in ROWS]).parent
    for path in (
        jsonl(tmp_path / "rows.jsonl", ROWS),
        tmp_path / "rows.json",
        tmp_path / "rows.parquet",
        separated(tmp_path / "rows.csv", ROWS),
        separated(tmp_path / "rows.tsv", ROWS),
        beir,
    ):
        assert read_documents(str(path)) == READ, path


def test_text_files_are_documents(tmp_path):
    (tmp_path / "notes.txt").write_text("First\nparagraph.\n\nSecond.\n")
    assert read_documents(str(tmp_path / "notes.txt")) == {"notes:1": "First\nparagraph.", "notes:4": "Second."}
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.md").write_text("One.")
    assert read_documents(str(tmp_path)) == {"more/one.md": "One.", "notes.txt": "First\nparagraph.\n\nSecond."}


def test_numbers_are_ids_and_rows_without_one_are_numbered(tmp_path):
    rows = [{"doc_id": 0, "text": "x"}, {"id": None, "text": "y"}, {"text": "z"}]
    assert read_documents(str(jsonl(tmp_path / "rows.jsonl", rows))) == {"0": "x", "2": "y", "3": "z"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "text": " "}], r"rows.jsonl has no documents"),
        ([{"id": "a", "title": ["T"], "text": "x"}], r"line 1: 'title' is \['T'\], expected a string"),
        ([{"id": "a", "title": 3, "text": "x"}], r"line 1: 'title' is 3, expected a string"),
        ([{"id": "a", "text": {"en": "x"}}], r"line 1: 'text' is \{'en': 'x'\}, expected a string"),
        ([{"id": "a", "text": "\ud800"}], r"line 1: 'text' is .*half of a surrogate pair"),
        ([{"id": "\ud800", "text": "x"}], r"line 1: 'id' is .*half of a surrogate pair"),
        ([{"id": ["a"], "text": "x"}], r"line 1: 'id' is \['a'\], expected a string or a whole number"),
        ([{"id": True, "text": "x"}], r"line 1: 'id' is True, expected a string or a whole number"),
        ([{"id": "a\tb", "text": "x"}], r"line 1: 'id' is .*expected an id without tabs"),
        ([{"id": "a", "body": "x"}], r"rows.jsonl, line 1: 'text' is missing .*rename the column"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], r"rows.jsonl, line 2: id 'a' has a second text"),
        ([], r"corpus=.*rows.jsonl has no documents"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(rows, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_documents(str(jsonl(tmp_path / "rows.jsonl", rows)))


def test_what_isnt_there_or_of_another_kind_is_named(tmp_path):
    (tmp_path / "file.pdf").write_text("")
    (tmp_path / "empty").mkdir()
    for path, message in (
        ("none", "corpus=.* doesn't exist"),
        ("file.pdf", "unknown kind"),
        ("empty", "has no .txt"),
    ):
        with pytest.raises(InputError, match=message):
            read_documents(str(tmp_path / path))


def test_ids_texts_and_their_order_decide_the_name():
    names = [content_of(each) for each in (READ, {**READ}, dict(reversed(READ.items())), {**READ, "c": ""}, {"a": "b"})]
    assert names[0] == names[1]
    assert len(set(names[1:])) == 4
    assert content_of({"ab": "c"}) != content_of({"a": "bc"})


def test_a_list_in_a_csv_cell_is_no_text(tmp_path):
    for text in ('["a", "b"]', "['a', 'b']"):
        path = separated(tmp_path / "rows.csv", [{"id": "a", "text": text}])
        with pytest.raises(InputError, match=r"rows\.csv, line 2: 'text' is .* expected a string"):
            read_documents(str(path))
        path.unlink()
        assert read_documents(str(jsonl(tmp_path / "rows.jsonl", [{"id": "a", "text": text}]))) == {"a": text}


def test_documents_without_text_are_left_out_and_counted(tmp_path, caplog):
    rows = [{"id": "a", "text": ""}, {"id": "b", "text": "x"}, {"id": "c", "text": None}, {"id": "b", "text": "x"}]
    assert read_documents(str(jsonl(tmp_path / "rows.jsonl", rows))) == {"b": "x"}
    assert "Left out: 2 documents without text, for instance" in caplog.text
