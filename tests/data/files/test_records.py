import gzip
import json
import re
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reasonir.data.files.records import (
    SUFFIXES,
    Record,
    check_cell,
    digests,
    document_text,
    find,
    id_of,
    is_table,
    read,
    text_of,
    value_of,
)
from reasonir.errors import InputError

ROWS = [{"a": "1", "b": "x, y"}, {"a": "2", "b": 'say "z"'}]


def written(folder, name):
    file = folder / name
    kind = name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    else:
        texts = {
            "jsonl": "\n".join(map(json.dumps, ROWS)) + "\n\n",
            "json": json.dumps(ROWS),
            "csv": 'a,b\n1,"x, y"\n2,"say ""z"""\n',
            "tsv": 'a\tb\n1\tx, y\n2\tsay "z"\n',
        }
        file.write_text(texts[kind], newline="")
    if name.lower().endswith(".gz"):
        file.write_bytes(gzip.compress(file.read_bytes()))
    return file


@pytest.mark.parametrize("name", [*(f"r{kind}" for kind in SUFFIXES), "R.JSONL", "r.CSV", "r.Parquet.GZ", "r.Tsv.gZ"])
def test_every_kind_gives_the_same_rows_with_their_locations(tmp_path, name):
    records = list(read(written(tmp_path, name)))
    assert [record.values for record in records] == ROWS
    assert is_table(tmp_path / name)
    assert all(str(tmp_path / name) in record.location for record in records)
    assert records[1].location.rsplit(" ", 1)[-1] in ("2", "3")  # the line, counting a header, or the number


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.jsonl", '{"a": 1}\n{"a": ', "r.jsonl, line 2: not valid JSON .*fix the row"),
        ("r.jsonl", "[1]", "line 1: holds list, expected an object"),
        ("r.json", '{"a": 1}', "holds dict, expected a list of objects"),
        ("r.json", '[{"a": 1}, 3]', "item 2: holds int"),
        ("r.csv", "a,b\n1,2\n3\n", "line 3: the row doesn't have the 2 columns"),
        ("r.csv", "a,b\n1,2,3\n", "line 2: the row doesn't have the 2 columns"),
        ("r.csv", "a,b,a\n1,2,3\n", "line 1: two columns are named 'a': rename or remove one"),
        ("r.tsv", "a\tb\ta\n1\t2\t3\n", "line 1: two columns are named 'a'"),
        ("r.csv", 'a,b\n\n1,2\n3,"4\n5,6\n', "line 4: unexpected end of data: fix the row"),
        ("r.jsonl", '{"a": 1, "b": 2, "a": 3}', r"line 1: not usable as JSON \(an object has a key twice among"),
        ("r.jsonl", '{"a": {"b": 1, "b": 2}}', "line 1: not usable as JSON .*twice"),
        ("r.json", '[{"a": 1, "a": 1}]', "r.json: not usable as JSON .*twice"),
        ("r.jsonl", '{"a": 1}\n{"a": ' + "9" * 5000 + "}", "line 2: not usable as JSON"),
        ("r.jsonl", '{"a": ' + "[" * 100_000, "line 1 has more than 100 lists and objects in each other"),
        ("r.jsonl", '{"a": 1,}', "line 1: not valid JSON"),
        ("r.jsonl", r'{"\ud800": 1}', "line 1: '.ud800' has half of a surrogate pair"),
        ("r.parquet", "no", "isn't a readable parquet file"),
        ("r.arrow", "no", "isn't a readable arrow file"),
        ("r.xml", "<a/>", "is of an unknown kind: expected one of .jsonl"),
    ],
)
def test_unreadable_files_are_named_with_the_location(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        list(read(tmp_path / name))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_gzipped_file_is_known_by_its_content(tmp_path, kind):
    plain = written(tmp_path, f"plain.{kind}")
    (tmp_path / f"r.{kind}").write_bytes(gzip.compress(plain.read_bytes()))
    plain.rename(tmp_path / f"r.{kind}.gz")
    for name in (f"r.{kind}", f"r.{kind}.gz"):
        assert [record.values for record in read(tmp_path / name)] == ROWS


def test_incomplete_archives_other_encodings_and_folders_are_named(tmp_path):
    whole = gzip.compress(json.dumps(ROWS[0]).encode() * 99)
    for name, content, message in (
        ("r.jsonl.gz", whole[:-12], "isn't a complete gzip file"),
        ("r.jsonl", b"\x1f\x8bnothing", "isn't a complete gzip file"),
        ("r.csv", "a,b\n1,2\n".encode("utf-16"), "isn't UTF-8 .*iconv -f utf-16"),
        ("r.jsonl", b'{"a": "Gr\xfc\xdfe"}', "isn't UTF-8 .*iconv -f cp1252"),
        ("r.parquet", written(tmp_path, "whole.parquet").read_bytes()[:-9], "isn't a readable parquet file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{re.escape(name)} {message}"):
            list(read(tmp_path / name))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv is a folder: give a file"):
        list(read(tmp_path / "folder.csv"))


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    file = written(tmp_path, "r.csv")

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(file), "open", refuse)
    for reading in (lambda: list(read(file)), lambda: digests([file], tmp_path)):
        with pytest.raises(InputError, match=r"r\.csv can't be read .*Permission denied.*: check the file"):
            reading()


def test_long_cells_quoted_line_breaks_and_crlf_are_read(tmp_path):
    long = "x" * 500_000
    (tmp_path / "r.csv").write_text(f'\ufeffa,b\r\n"two\r\nlines",{long}\r\n\r\n3,4\r\n', newline="")
    first, second = read(tmp_path / "r.csv")
    assert first == Record(f"{tmp_path / 'r.csv'}, line 2", {"a": "two\r\nlines", "b": long}, cells=True)
    assert second.location.endswith("line 5")
    (tmp_path / "r.tsv").write_text(f"a\tb\n{long}\t1\n")
    assert next(read(tmp_path / "r.tsv")).values == {"a": long, "b": "1"}


def test_json_lines_may_be_named_json(tmp_path):
    written(tmp_path, "r.jsonl").rename(tmp_path / "r.json")
    assert [record.values for record in read(tmp_path / "r.json")] == ROWS


def test_columns_without_a_name_are_not_read_and_may_be_several(tmp_path):
    (tmp_path / "r.csv").write_text(",a,,\n0,x,,\n")  # as pandas writes its index, and spreadsheets empty columns
    (record,) = read(tmp_path / "r.csv")
    assert text_of(record, "a") == "x"


def test_every_type_of_a_parquet_column_gives_plain_values(tmp_path):
    columns = {
        "dictionary": pa.array(["x"]).dictionary_encode(),
        "large": pa.array(["x"], pa.large_string()),
        "null": pa.nulls(1),
        "bytes": pa.array([b"x"]),
        "decimal": pa.array([Decimal("1.50")]),
        "struct": pa.array([{"a": 1}]),
        "list": pa.array([["x"]]),
    }
    pq.write_table(pa.table(columns), tmp_path / "r.parquet")
    (record,) = read(tmp_path / "r.parquet")
    assert record.values["decimal"] == Decimal("1.50")
    for key in columns:
        if key in ("dictionary", "large"):
            assert text_of(record, key) == "x"
        else:
            with pytest.raises(InputError, match=f"row 1: '{key}' is .*, expected a string"):
                text_of(record, key)
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "twice.parquet")
    with pytest.raises(InputError, match=r"twice\.parquet: two columns are named 'a'"):
        list(read(tmp_path / "twice.parquet"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.jsonl doesn't exist"):
        list(read(tmp_path / "nothing.jsonl"))


def test_texts_must_exist_and_not_be_blank(tmp_path):
    (record, _) = read(written(tmp_path, "r.json"))
    assert text_of(record, "b") == "x, y"
    with pytest.raises(InputError, match=r"item 1: 'c' is missing \(the row has a, b\)"):
        text_of(record, "c")
    with pytest.raises(InputError, match="'a' is ' ', expected a string"):
        text_of(record._replace(values={"a": " "}), "a")


HALF = "half \ud83d"
CELLS = "file.csv, line 2"


@pytest.mark.parametrize("value", [None, 0, 1.5, True, ["x"], {"a": "x"}, b"x", float("nan"), HALF, "", " "])
def test_what_is_no_text_is_refused_with_its_place(value):
    record = Record("file, line 7", {"text": value, "title": value, "id": "a"})
    with pytest.raises(InputError, match=r"file, line 7: 'text' is .*, expected a string|half of a surrogate pair"):
        text_of(record, "text")
    if value in (None, "", " "):
        assert text_of(record, "title", required=False) == document_text(record) == ""
    else:
        for reading in (lambda: text_of(record, "title", required=False), lambda: document_text(record)):
            with pytest.raises(InputError, match="file, line 7: 'title' is"):
                reading()


def test_a_document_is_its_title_and_text():
    assert document_text(Record("", {"title": " T ", "text": "x\n"})) == "T  x"
    assert document_text(Record("", {"text": "x"})) == document_text(Record("", {"title": None, "text": "x"})) == "x"


@pytest.mark.parametrize(("value", "expected"), [(0, "0"), ("0", "0"), ("None", "None"), (7, "7"), (" a b ", " a b ")])
def test_an_id_is_kept_as_it_is(value, expected):
    assert id_of(Record("", {"_id": value, "id": "other"}), ("_id", "id")) == expected
    assert id_of(Record("", {"id": value})) == expected


def test_a_row_without_an_id_has_the_next_name_or_its_number():
    for empty in ({}, {"_id": None}, {"_id": ""}):
        assert id_of(Record("", {**empty, "id": "x"}), ("_id", "id"), number=3) == "x"
        assert id_of(Record("", empty), ("_id", "id"), number=3) == "3"
        with pytest.raises(InputError, match=r"line 7: '_id' is (missing|None|'')"):
            id_of(Record("file, line 7", empty), ("_id",))


@pytest.mark.parametrize("value", [True, 1.0, ["x"], {"a": 1}, HALF, " ", "a\nb"])
def test_what_is_no_id_is_refused_even_where_rows_are_numbered(value):
    with pytest.raises(InputError, match="file, line 7: 'id' is"):
        id_of(Record("file, line 7", {"id": value}), number=3)


@pytest.mark.parametrize(("cell", "value"), [('["a", "b"]', ["a", "b"]), ("[1, 0]", [1, 0]), (" [] ", []), ("[]", [])])
def test_a_cell_that_is_a_json_list_is_that_list_and_no_text(cell, value):
    assert value_of(Record(CELLS, {"a": cell}, cells=True), "a") == value
    assert value_of(Record(CELLS, {"a": cell}), "a") == cell  # a string in jsonl is a string
    assert text_of(Record(CELLS, {"a": cell}), "a") == cell
    with pytest.raises(InputError, match=r"file.csv, line 2: 'a' is \[.*, expected a string"):
        text_of(Record(CELLS, {"a": cell}, cells=True), "a")


@pytest.mark.parametrize("cell", ["['a', 'b']", "['a' 'b']", "[\"it's\", 'b']", "['a'\n 'b']", '["a", None, "b"]'])
def test_a_list_as_python_prints_it_is_no_text_of_a_cell(cell):
    with pytest.raises(InputError, match="looks like a list, expected a string or a JSON list"):
        check_cell(Record(CELLS, {"a": cell}, cells=True), "a", cell)
    assert check_cell(Record("file.jsonl, line 2", {"a": cell}), "a", cell) == cell


@pytest.mark.parametrize(
    "cell", ["[citation needed] x", "[deleted]", "x [1]", "[1] and [2]", "{'a': 1}", "[", "a, ['b']"]
)
def test_brackets_in_a_cell_are_text(cell):
    assert text_of(Record(CELLS, {"a": cell}, cells=True), "a") == cell


def test_files_are_found_by_the_first_pattern_that_matches_and_hashed(tmp_path):
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("a")
    assert find(tmp_path, ["none*", "*.txt", "a*"]) == [tmp_path / "a.txt", tmp_path / "b.txt"]
    digest = digests([tmp_path / "a.txt"], tmp_path)["a.txt"]
    assert digest == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_files_are_found_in_upper_case_where_no_other_matches(tmp_path):
    (tmp_path / "Train.CSV").write_text("a")
    assert find(tmp_path, ["train.jsonl", "train.csv"]) == [tmp_path / "Train.CSV"]
    (tmp_path / "train.jsonl").write_text("a")
    assert find(tmp_path, ["train.csv", "train.jsonl"]) == [tmp_path / "train.jsonl"]
    (tmp_path / "dev.csv").mkdir()
    assert find(tmp_path, ["dev.*"]) == []
