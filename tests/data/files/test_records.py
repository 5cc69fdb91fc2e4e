import gzip
import json

import pytest

from reasonir.data.files.records import digests, find, read, text_of
from reasonir.errors import InputError

ROWS = [{"a": "1", "b": "x, y"}, {"a": "2", "b": 'say "z"'}]


def written(folder, name):
    file = folder / name
    if name.endswith((".jsonl", ".jsonl.gz")):
        text = "\n".join(map(json.dumps, ROWS)) + "\n\n"
    elif name.endswith(".json"):
        text = json.dumps(ROWS)
    elif name.endswith(".csv"):
        text = 'a,b\n1,"x, y"\n2,"say ""z"""\n'
    elif name.endswith(".tsv"):
        text = 'a\tb\n1\tx, y\n2\tsay "z"\n'
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(ROWS), file)
        return file
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.json", "r.csv", "r.tsv", "r.parquet"])
def test_every_kind_gives_the_same_rows_with_their_locations(tmp_path, name):
    records = list(read(written(tmp_path, name)))
    assert [record.values for record in records] == ROWS
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
        ("r.parquet", "no", "isn't a readable parquet file"),
        ("r.xml", "<a/>", "is of an unknown kind: expected one of .jsonl"),
    ],
)
def test_unreadable_files_are_named_with_the_location(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        list(read(tmp_path / name))


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


def test_files_are_found_by_the_first_pattern_that_matches_and_hashed(tmp_path):
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("a")
    assert find(tmp_path, ["none*", "*.txt", "a*"]) == [tmp_path / "a.txt", tmp_path / "b.txt"]
    digest = digests([tmp_path / "a.txt"], tmp_path)["a.txt"]
    assert digest == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
