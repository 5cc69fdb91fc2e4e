import gzip
import io
import json
import re
import time

import pytest

from reasonir.data.files.records import open_text
from reasonir.errors import InputError
from reasonir.utils.parsing import MAX_DEPTH, MAX_LINE, parse_json, read_json, read_whole, read_yaml

LAUGHS = "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))])
MERGED = "\n".join(["a0: &a0 {k0: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60))])
YAML = {
    "billion laughs": (LAUGHS, "expands to more than 200,000 values"),
    "billion merges": (MERGED, "expands to more than 200,000 values"),
    "itself": ("a: &a [*a]", "holds itself"),
    "itself as a key": ("&a {*a : 1}", "holds itself"),
    "deep": ("[" * 300 + "]" * 300, "lists and objects in each other"),
    "deeper": ("[" * 50_000, "lists and objects in each other"),
    "deep by aliases": (
        "\n".join(["- &a0 [1]", *(f"- &a{n} [*a{n - 1}]" for n in range(1, 200))]),
        "lists and objects in each other",
    ),
    "large": ("- 1\n" * 300_000, "more than 1,048,576 characters"),
    "long sexagesimal": ("1" + ":59" * 200_000, "a number of more than 1,000 characters"),
    "long integer": ("9" * 5000, "a number of more than 1,000 characters"),
    "no date": ("2001-99-99", "can't be read as YAML (month must be in 1..12)"),
    "no digits": ("0x_", "can't be read as YAML"),
    "code": ("!!python/object/apply:os.getpid []", "can't be read as YAML"),
    "a key that is a list": ("? [1]\n: 1", "can't be read as YAML"),
    "two documents": ("1\n---\n2", "can't be read as YAML"),
}


@pytest.mark.parametrize("name", list(YAML))
def test_yaml_that_asks_for_more_than_it_says_is_refused_at_once(tmp_path, name):
    text, message = YAML[name]
    (tmp_path / "a.yaml").write_text(text)
    started = time.monotonic()
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        read_yaml(tmp_path / "a.yaml", remedy="copy it again")
    assert time.monotonic() - started < 5
    assert str(refused.value).startswith(str(tmp_path / "a.yaml"))
    assert str(refused.value).endswith(": copy it again")


def test_usual_yaml_is_read_with_aliases(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {b: [1, 2.5, null, yes]}\nc: *a\nd: {<<: *a, e: 'ü'}\nf: 1:30\n")
    inner = {"b": [1, 2.5, None, True]}
    assert read_yaml(tmp_path / "a.yaml", remedy="") == {"a": inner, "c": inner, "d": {**inner, "e": "ü"}, "f": 90}
    (tmp_path / "a.yaml").write_text("")
    assert read_yaml(tmp_path / "a.yaml", remedy="") is None


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" * 101 + "]" * 101, '{"a":' * 101 + "1" + "}" * 101]
)
def test_deep_json_is_refused(text):
    with pytest.raises(InputError, match="x, line 3 has more than 100 lists and objects in each other: fix it"):
        parse_json(text, "x, line 3", remedy="fix it")


def test_json_is_as_deep_as_it_is_and_not_as_it_is_long():
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, "x", remedy="") is not None
    assert parse_json(json.dumps([[n] for n in range(1000)]), "x", remedy="") == [[n] for n in range(1000)]
    assert parse_json(json.dumps("[" * 1000).encode(), "x", remedy="") == "[" * 1000


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\xff", "not usable as JSON"),
        (b"9" * 5000, "not usable as JSON"),
        (b'{\n"a": }', "not valid JSON (Expecting value at line 2, column 6)"),
        (b"", "not valid JSON (Expecting value at column 1)"),
    ],
)
def test_what_is_no_json_is_named(tmp_path, raw, message):
    (tmp_path / "a.json").write_bytes(raw)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'a.json'}: {message}")):
        read_json(tmp_path / "a.json", remedy="copy it again")
    with pytest.raises(InputError, match=r"nothing can't be read \(No such file or directory\): copy it again"):
        read_json(tmp_path / "nothing", remedy="copy it again")


def packed(file, size):
    """Write zeros that are 1000 times as many when they are unpacked."""
    with gzip.open(file, "wb", compresslevel=1) as stream:
        for _ in range(size // 2**20):
            stream.write(b"0" * 2**20)
    return file


def test_a_packed_line_of_a_gigabyte_is_refused_in_seconds(tmp_path):
    file = packed(tmp_path / "a.jsonl.gz", 2**28)
    started = time.monotonic()
    with pytest.raises(InputError, match=rf"line 1 has more than {MAX_LINE:,} characters"), open_text(file) as lines:
        next(lines)
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"), gzip.open(file) as stream:
        read_whole(stream, file)
    assert time.monotonic() - started < 10


def test_what_is_no_trap_is_read_whole(tmp_path):
    (tmp_path / "a.json").write_bytes(b"0" * (MAX_LINE + 1))
    with (tmp_path / "a.json").open("rb") as stream:
        assert len(read_whole(stream, tmp_path / "a.json")) == MAX_LINE + 1
    assert read_whole(io.BytesIO(b"ab"), tmp_path / "a.json") == b"ab"
