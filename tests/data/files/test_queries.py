"""Query files in every form, and the errors in them."""

import pytest

from reasonir.data.files.queries import read_queries
from reasonir.errors import InputError
from reasonir.types import Text

BEES, RAIN = Text("how do bees dance"), Text("why does it rain", "Find causes.")


def written(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("q.txt", "\ufeffhow do bees dance\n\n why does it rain \n", {"1": BEES, "3": Text("why does it rain")}),
        ("q.tsv", "id\tquery\tinstruction\na\thow do bees dance\t\nb\twhy does it rain\tFind causes.\n", None),
        ("q.csv", "query_id,query,instruction\na,how do bees dance,\nb,why does it rain,Find causes.\n", None),
        (
            "q.jsonl",
            '{"_id": "a", "text": "how do bees dance"}\n'
            '{"_id": "b", "text": "why does it rain", "instruction": "Find causes."}',
            None,
        ),
        ("q.CSV", "query_id,query,instruction\na,how do bees dance,\nb,why does it rain,Find causes.\n", None),
        ("q.jsonl", '{"id": 0, "query": "how do bees dance", "instruction": null}', {"0": BEES}),
        ("q.json", '[{"query": "how do bees dance"}, {"query": "x", "text": "y"}]', {"1": BEES, "2": Text("x")}),
    ],
)
def test_every_form_is_read(name, text, expected, tmp_path):
    assert read_queries(written(tmp_path, name, text)) == (expected or {"a": BEES, "b": RAIN})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.jsonl", '{"id": "a", "query": "x"}\n{"id": "a", "query": "y"}', r"q.jsonl, line 2: duplicate id 'a'"),
        ("q.jsonl", '{"id": "a", "question": "x"}', r"q.jsonl, line 1: 'query' is missing"),
        ("q.tsv", "id\tquery\na\t\n", r"q.tsv, line 2: 'query' is ''"),
        (
            "q.jsonl",
            '{"query": "x", "instruction": ["find"]}',
            r"line 1: 'instruction' is \['find'\], expected a string",
        ),
        ("q.jsonl", '{"query": "x", "instruction": 3}', "line 1: 'instruction' is 3, expected a string"),
        ("q.jsonl", '{"query": ["x"]}', r"line 1: 'query' is \['x'\], expected a string"),
        ("q.jsonl", r'{"query": "\ud800"}', "line 1: 'query' is .*half of a surrogate pair"),
        ("q.jsonl", '{"id": {"a": 1}, "query": "x"}', "line 1: 'id' is .*, expected a string or a whole number"),
        ("q.csv", 'id,query\na,"[""x"", ""y""]"\n', r"q.csv, line 2: 'query' is \['x', 'y'\], expected a string"),
        ("q.csv", "id,query,query\na,x,y\n", "q.csv, line 1: two columns are named 'query'"),
        ("q.txt", "\n \n", r"queries=.*q.txt has no queries"),
    ],
)
def test_errors_are_named_with_the_location(name, text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_queries(written(tmp_path, name, text))


def test_other_encodings_and_missing_files_are_named(tmp_path):
    (tmp_path / "q.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(InputError, match="isn't UTF-8"):
        read_queries(tmp_path / "q.txt")
    with pytest.raises(InputError, match=r"queries=.*none doesn't exist"):
        read_queries(tmp_path / "none")
