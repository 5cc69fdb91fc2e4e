"""Malformed files of every source and format are refused by name, or read as what is written in them.

A case is one reader with one valid row. A value of the row is replaced by one that may not belong there, and `ACCEPTED`
says by the documented rules whether the reader takes it; or the file's bytes are damaged.
"""

import csv
import gzip
import io
import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reasonir.data.base import Rejected
from reasonir.data.beir import Beir
from reasonir.data.context_relevance import ContextRelevance
from reasonir.data.files import bright
from reasonir.data.files.corpora import read_documents
from reasonir.data.files.queries import read_queries
from reasonir.data.files.ratings import RatingColumns
from reasonir.data.files.raw_documents import read_texts
from reasonir.data.graded import Graded
from reasonir.data.mixture import Mixture
from reasonir.data.prepared import prepare, read
from reasonir.data.reasonir import ReasonIR
from reasonir.data.triplets import Triplets
from reasonir.errors import InputError
from reasonir.eval.trec import read_judgements, read_run
from reasonir.types import Document, Example

TABLES = ("jsonl", "json", "csv", "tsv", "parquet")


@dataclass
class Found:
    """What a reader took: texts, ids and numbers."""

    texts: list = field(default_factory=list)
    ids: list = field(default_factory=list)
    numbers: list = field(default_factory=list)


def of_examples(items) -> Found:
    found = Found()
    for item in items:
        if not isinstance(item, Rejected):
            found.ids.append(item.query_id)
            found.texts += [item.query, item.instruction]
            for document in item.documents:
                found.texts += [document.text, document.instruction]
                found.numbers += [document.label, *document.teachers.values(), *document.span_labels]
    return found


def of_texts(texts) -> Found:
    return Found(texts=list(texts.values()), ids=list(texts))


def of_queries(file: Path) -> Found:
    queries = read_queries(file)
    return Found([part for text in queries.values() for part in (text.text, text.instruction)], list(queries))


def of_raw(file: Path) -> Found:
    raw = list(read_texts(file))
    return Found([each.text for each in raw], [each.doc_id for each in raw])


def of_bright_documents(file: Path) -> Found:
    rows = list(bright.documents(file.parent.parent, "pony"))
    return Found([text for _, text, _ in rows], [doc_id for doc_id, _, _ in rows])


def of_bright_queries(file: Path) -> Found:
    rows = [record.values for record in bright.read_queries(file.parent.parent, "pony")]
    return Found([row["query"] for row in rows], [each for row in rows for each in (row["id"], *row["gold_ids"])])


def of_ranked(ranked: dict) -> Found:
    return Found(
        ids=[*ranked, *(doc for documents in ranked.values() for doc in documents)],
        numbers=[score for documents in ranked.values() for score in documents.values()],
    )


def of_prepared(folder: Path, source) -> Found:
    rows = read(prepare(source, folder))
    texts = [part for row in rows for part in (row["query"], row["instruction"])]
    texts += [part for row in rows for pair in row["pos"] + row["neg"] for part in pair]
    return Found(texts, [row["query_id"] for row in rows], [label for row in rows for label in row["labels"]])


@dataclass
class Case:
    """A reader, the place of its file in a folder, a valid row, and the rule for each value that is replaced."""

    read: Callable[[Path], Found]
    row: dict
    rules: dict[tuple, str]
    place: str = "train"
    formats: tuple = TABLES
    others: dict = field(default_factory=dict)


def triplets(file: Path) -> Found:
    return of_examples(Triplets(str(file)).examples())


def graded(file: Path) -> Found:
    columns = RatingColumns(document="id", text=("text", "more"))
    source = Graded(str(file), columns, (0, 3), 1, splits=(1, 0, 0), lower=False)
    return of_examples(source.examples())


def beir(file: Path) -> Found:
    return of_examples(Beir(str(file.parent.parent if file.parent.name == "qrels" else file.parent)).examples())


CONTEXT = {
    "id": "r",
    "query": "why",
    "texts": ["one two", "three"],
    "context_spans": [[[0, 1]], [[0, 1]]],
    "context_spans_relevance": [[1], [0]],
    "labels": [1, 0],
    "teacher_scores.t": [0.5, 0.25],
}
BEIR = {
    "corpus.jsonl": '{"_id": "d", "title": "T", "text": "x"}\n{"_id": "e", "text": "y"}',
    "queries.jsonl": '{"_id": "q", "text": "why"}',
    "qrels/train.tsv": "query-id\tcorpus-id\tscore\nq\td\t1\n",
}
CASES = {
    "triplets": Case(
        triplets,
        {"query": "why", "positive": "because", "negative": "no", "instruction": "find", "query_id": "q"},
        {
            ("query",): "element",
            ("positive",): "side",
            ("negative",): "sides",
            ("instruction",): "unless empty",
            ("query_id",): "any id",
        },
    ),
    "triplets with lists": Case(
        triplets,
        {"query": "why", "pos": ["because"], "neg": ["no", "never"], "pos_scores": [1.5], "neg_scores": [0.5, 0]},
        {("pos", 0): "element", ("neg", 1): "element", ("pos_scores", 0): "number", ("neg_scores", 1): "number"},
    ),
    "triplets with labels": Case(
        triplets, {"query": "why", "positive": "because", "label": 1}, {("label",): "labels", ("query",): "element"}
    ),
    "graded": Case(
        graded,
        {"query": "why", "id": "d", "text": "because", "more": "indeed", "relevance": 2},
        {("query",): "text", ("id",): "id", ("text",): "text", ("more",): "optional", ("relevance",): "rating"},
    ),
    "raw documents": Case(of_raw, {"id": "d", "text": "because"}, {("id",): "any id", ("text",): "optional"}),
    "corpus": Case(
        lambda file: of_texts(read_documents(str(file))),
        {"_id": "d", "title": "T", "text": "because"},
        {("_id",): "any id", ("title",): "optional", ("text",): "optional"},
    ),
    "queries": Case(
        of_queries,
        {"id": "q", "query": "why", "instruction": "find"},
        {("id",): "any id", ("query",): "text", ("instruction",): "optional"},
    ),
    "context relevance": Case(
        lambda file: of_examples(ContextRelevance(str(file)).examples()),
        CONTEXT,
        {
            ("id",): "id",
            ("query",): "text",
            ("texts", 0): "text",
            ("labels", 1): "number",
            ("teacher_scores.t", 0): "number",
            ("context_spans", 0): "?",
            ("context_spans_relevance", 0): "?",
            ("texts",): "?",
            ("labels",): "?",
        },
    ),
    "reasonir": Case(
        lambda file: of_examples(ReasonIR(str(file.parent.parent), ("vl",), label_words=0).examples()),
        {"query": ["find", "why"], "pos": [["", "because"]], "neg": [["", "no"]]},
        {("query",): "?", ("query", 1): "?", ("pos", 0): "?", ("pos",): "?", ("neg", 0): "?"},
        place="vl/train",
    ),
    "BRIGHT's documents": Case(
        of_bright_documents,
        {"id": "d", "content": "because"},
        {("id",): "id", ("content",): "content"},
        place="documents/pony",
        formats=("jsonl", "json", "parquet"),
    ),
    "BRIGHT's queries": Case(
        of_bright_queries,
        {"id": "q", "query": "why", "gold_ids": ["d"], "gold_ids_long": [], "excluded_ids": ["e"]},
        {("id",): "id", ("query",): "text", ("gold_ids", 0): "id", ("gold_ids",): "?", ("excluded_ids", 0): "id"},
        place="examples/pony",
    ),
    "BEIR's corpus": Case(
        beir,
        {"_id": "d", "title": "T", "text": "x"},
        {("_id",): "?", ("title",): "?", ("text",): "?"},
        place="corpus",
        formats=("jsonl", "parquet"),
        others=BEIR,
    ),
    "BEIR's queries": Case(
        beir,
        {"_id": "q", "text": "why"},
        {("_id",): "?", ("text",): "?"},
        place="queries",
        formats=("jsonl", "parquet"),
        others=BEIR,
    ),
    "BEIR's qrels": Case(
        beir,
        {"query-id": "q", "corpus-id": "d", "score": 1},
        {("query-id",): "?", ("corpus-id",): "?", ("score",): "positive grade"},  # else no query is left
        place="qrels/train",
        formats=("jsonl", "tsv", "parquet"),
        others=BEIR,
    ),
    "run": Case(
        lambda file: of_ranked(read_run(file)),
        {"query": "q", "Q0": "Q0", "doc": "d", "rank": "1", "score": "0.5", "name": "x"},
        {("query",): "?", ("Q0",): "?", ("doc",): "?", ("rank",): "?", ("score",): "number"},
        formats=("trec",),
    ),
    "judgements": Case(
        lambda file: of_ranked(read_judgements(file)),
        {"query": "q", "0": "0", "doc": "d", "label": "1"},
        {("query",): "?", ("0",): "?", ("doc",): "?", ("label",): "grade"},
        formats=("trec",),
    ),
    "mixture": Case(
        lambda file: of_examples(Mixture({"a": Triplets(str(file))}).examples()),
        {"query": "why", "positive": "because"},
        {("query",): "element", ("positive",): "side"},
    ),
}
HALF = "half \ud83d"
NASTY = [
    None, True, False, 0, 1, -1, 3, 1.0, 1.9, 0.5, -0.0, math.nan, math.inf, -math.inf, 2e8, 10**20, 10**400, 1e39,
    1e300, "", " ", "\u3000", "\x00", HALF, "\ufefftext", "a\tb", "a\nb", "a\rb", "a\u2028b", "None", "nan", "inf",
    "1", "1.0", "1.9", "1_0", " 1 ", "true", "0x1", "9" * 5000, "x" * 200_000, "x Q0 y", "[deleted]", "[", "{",
    '{"a": 1}', [], ["a"], ["a", "b"], ["find", "a"], [["find", "a"]], [[]], [1], [None], [HALF], ["a", None],
    {}, {"a": "b"}, '["a"]', "['a', 'b']", "[1]", b"bytes", datetime(2026, 1, 1), Decimal("1.0"), Decimal("0.5"),
    "it's", 'say "a"',
]  # fmt: skip
values = st.one_of(
    st.sampled_from(NASTY), st.text(max_size=8), st.floats(), st.integers(), st.lists(st.text(max_size=3))
)


def is_text(value) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= c <= "\udfff" for c in value)


def is_id(value) -> bool:
    if isinstance(value, str):
        return is_text(value) and not value.startswith("\ufeff") and not set("\t\n\r") & set(value)
    return isinstance(value, int) and not isinstance(value, bool)


def number(value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str) or "_" in str(value)[:9]:
        return math.nan
    try:
        return float(value) if abs(float(value)) <= (2 - 2**-23) * 2.0**127 else math.nan  # a float32
    except (ValueError, OverflowError):
        return math.nan


def is_label(value) -> bool:
    return number(value) in (0, 1) or isinstance(value, bool) or str(value).strip().lower() in ("true", "false")


def is_element(value) -> bool:
    if isinstance(value, list) and len(value) == 2:
        return (
            value[0] == "" or is_text(value[0]) or (isinstance(value[0], str) and not value[0].strip())
        ) and is_text(value[1])
    return is_text(value)


def is_side(value) -> bool:
    return bool(value) and all(map(is_element, value)) if isinstance(value, list) else is_element(value)


EMPTY = (None, "", [])
ACCEPTED = {
    "text": is_text,
    "optional": lambda value: value is None or is_text(value) or (isinstance(value, str) and not value.strip()),
    "unless empty": lambda value: value in EMPTY or ACCEPTED["optional"](value),
    "content": lambda value: isinstance(value, str) and (not value.strip() or is_text(value)),
    "element": is_element,
    "side": is_side,
    "sides": lambda value: value in EMPTY or is_side(value),
    "id": is_id,
    "any id": lambda value: value in (None, "") or is_id(value),
    "number": lambda value: math.isfinite(number(value)),
    "labels": lambda value: (
        value in EMPTY or is_label(value[0] if value and isinstance(value, list) and len(value) == 1 else value)
    ),
    "rating": lambda value: 0 <= number(value) <= 3,
    "grade": lambda value: number(value).is_integer() and abs(number(value)) <= 10_000,
    "positive grade": lambda value: number(value).is_integer() and 0 < number(value) <= 10_000,
}


def strings_in(value) -> set[str]:
    if isinstance(value, str):
        return {value}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(strings_in, parts))


def cell_of(value, *, python: bool) -> str:
    """The value as a program writes it into a table of strings."""
    if isinstance(value, list):
        return repr(value) if python else json.dumps(value)
    return "" if value is None else str(value)


def as_read(cell: str):
    """The value of a cell of csv or tsv by the documented rule; a list in Python's form is nothing that is accepted."""
    if cell.lstrip().startswith("["):
        try:
            return json.loads(cell)
        except ValueError:
            inner = cell.strip()[1:-1].strip()
            return {} if cell.strip().endswith("]") and inner[:1] in ("'", '"') and inner[-1:] in ("'", '"') else cell
    return cell


def replaced(row: dict, path: tuple, value) -> dict:
    row = json.loads(json.dumps(row))
    *parents, last = path
    inner = row
    for part in parents:
        inner = inner[part]
    inner[last] = value
    return row


def at(row: dict, path: tuple):
    for part in path:
        row = row[part]
    return row


@dataclass
class Written:
    """Bytes of a file, and the row that the rules read from it."""

    content: bytes
    row: dict


def write(row: dict, kind: str, *, python: bool = False) -> Written:
    """The bytes of a file of one row.

    Raises:
        TypeError, ValueError, OverflowError or an error of Arrow: the format has no form for a value.
    """
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([row]), sink)
        return Written(sink.getvalue(), pq.read_table(io.BytesIO(sink.getvalue())).to_pylist()[0])
    if kind in ("json", "jsonl"):
        text = json.dumps([row] if kind == "json" else row)
        return Written(text.encode(), row)
    cells = {name: cell_of(value, python=python) for name, value in row.items()}
    if kind == "csv":
        table = io.StringIO()
        csv.writer(table).writerows([cells, cells.values()])
        text = table.getvalue()
    elif kind == "tsv":
        text = "\n".join("\t".join(line) for line in (cells, cells.values())) + "\n"
    else:
        text = " ".join(cells.values()) + "\n"
    read_as = {name: as_read(cell) for name, cell in cells.items()} if kind != "trec" else cells
    return Written(text.encode(errors="surrogatepass"), read_as)


def outcome(case: Case, file_name: str, content: bytes | None) -> Found | None:
    """What is read from a file (a folder for None); None if it is refused, with a message that names it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "set", file_name)
        for name, text in case.others.items():
            if not name.startswith(case.place):
                Path(folder, "set", name).parent.mkdir(parents=True, exist_ok=True)
                Path(folder, "set", name).write_text(text)
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            file.mkdir()
        else:
            file.write_bytes(content)
        try:
            found = case.read(file)
        except InputError as error:
            assert folder in str(error), str(error)
            assert len(str(error)) < 3000
            str(error).encode()
            return None
    assert all(is_text(text) or not text.strip() for text in found.texts)
    assert all(map(is_id, found.ids))
    assert all(type(each) in (int, float) and math.isfinite(each) for each in found.numbers)
    return found


seen: Counter[str] = Counter()


@st.composite
def a_value(draw):
    name = draw(st.sampled_from(sorted(CASES)))
    return (
        name,
        draw(st.sampled_from(CASES[name].formats)),
        draw(st.sampled_from(list(CASES[name].rules))),
        draw(values),
    )


def check_value(name: str, kind: str, path: tuple, value, *, python: bool) -> None:
    """Check that a row with this value is refused, or read as what it says, by the rule of its place."""
    case = CASES[name]
    row = replaced(case.row, path, value) if not isinstance(value, bytes | datetime | Decimal) else None
    try:
        if row is None:
            row = replaced(case.row, path, None)
            at(row, path[:-1])[path[-1]] = value
        written = write(row, kind, python=python)
    except (TypeError, ValueError, OverflowError, RecursionError, pa.ArrowException):
        seen["no form in this format"] += 1
        return
    found = outcome(case, f"{case.place}.{kind}", written.content)
    seen["refused" if found is None else "read"] += 1
    rule = ACCEPTED.get(case.rules[path])
    cells = {cell_of(each, python=python) for each in row.values()} if kind in ("csv", "tsv", "trec") else set()
    unruled = kind == "tsv" and any(set(cell) & set("\t\n\r") for cell in cells)
    unruled |= kind == "trec" and (not value or any(char.isspace() for char in str(value)))
    unruled |= python and kind in ("csv", "tsv") and any(isinstance(each, list) for each in case.row.values())
    if rule and not unruled:
        inner = written.row[path[0]]
        taken = inner if len(path) == 1 else inner[path[1]] if isinstance(inner, list) else {}
        unwritable = any(cell.strip() and not is_text(cell) for cell in cells)
        assert (found is not None) == (bool(rule(taken)) and not unwritable), (taken, found)
        seen["checked against the rule"] += 1
    if found is not None:
        put = {" ".join(text.split()) for text in strings_in(written.row)} | (
            {"T x", "y", "why"} if case.others else set()
        )
        keys = ("text", "more") if name == "graded" else ("title", "text")
        first, last = (str(written.row.get(key) or "") for key in keys)
        put |= {" ".join(f"{first.strip()}{joint} {last}".split()) for joint in ("", ".")}
        for text in found.texts:
            assert not text.strip() or " ".join(text.split()) in put, text
        if "None" not in put:
            assert "None" not in found.ids


DAMAGE = {
    "gzipped": lambda content, _: gzip.compress(content),
    "upper-case suffix": lambda content, _: content,
    "byte-order mark": lambda content, _: b"\xef\xbb\xbf" + content,
    "CRLF": lambda content, _: content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    "utf-16": lambda content, _: content.decode().encode("utf-16"),
    "half an archive": lambda content, place: gzip.compress(content)[: 12 + place % (len(gzip.compress(content)) - 12)],
    "folder": lambda *_: None,
    "second header": lambda content, _: b"".join(
        line + (b"\t" if b"\t" in line else b",") + line.split(b"\t" if b"\t" in line else b",")[0] + b"\n"
        for line in content.splitlines()
    ),
    "key twice": lambda content, _: content.replace(b'{"', b'{"zz": 1, "zz": 2, "', 1),
    "list per line": lambda content, _: b"[" + content.strip() + b"]\n",
    "deep": lambda *_: b'{"a": ' + b"[" * 100_000,
    "huge number": lambda content, _: content.rstrip(b"}]\n") + b', "a": ' + b"9" * 5000 + b"}",
    "not gzipped": lambda content, _: b"\x1f\x8b" + content,
    "empty": lambda *_: b"",
    "half": lambda content, place: content[: place % len(content)],
    "first line": lambda content, _: content.splitlines(keepends=True)[0],
    "trailing comma": lambda content, _: content.rstrip() + b",\n",
    "a byte more": lambda content, place: (
        content[: place % len(content)] + bytes([place % 256]) + content[place % len(content) :]
    ),
    "a byte changed": lambda content, place: (
        content[: place % len(content)] + bytes([place // 7 % 256]) + content[place % len(content) + 1 :]
    ),
    "other bytes": lambda content, place: bytes((byte * place + place) % 256 for byte in content),
}
HARMLESS = {"gzipped": None, "upper-case suffix": None, "byte-order mark": "parquet", "CRLF": "parquet"}
REFUSED = {
    "utf-16": ("jsonl", "json", "csv", "tsv", "trec"),
    "half an archive": (*TABLES, "trec"),
    "not gzipped": (*TABLES, "trec"),
    "folder": (*TABLES, "trec"),
    "second header": ("csv", "tsv"),
    "key twice": ("jsonl", "json"),
    "list per line": ("jsonl",),
    "deep": ("jsonl", "json"),
    "huge number": ("jsonl", "json"),
    "empty": ("json", "parquet"),
    "half": ("parquet",),
    "other bytes": ("parquet",),
}


@st.composite
def a_damage(draw):
    name = draw(st.sampled_from(sorted(CASES)))
    return (
        name,
        draw(st.sampled_from(CASES[name].formats)),
        draw(st.sampled_from(list(DAMAGE))),
        draw(st.integers(0, 9999)),
    )


def check_damage(name: str, kind: str, damage: str, place: int) -> None:
    """Check that a damaged file is refused, or read as the sound one where the damage is none."""
    case = CASES[name]
    content = write(case.row, kind).content
    try:
        damaged = DAMAGE[damage](content, place)
    except UnicodeDecodeError:  # parquet is no text
        return
    suffix = kind.upper() if damage == "upper-case suffix" else kind
    found = outcome(case, f"{case.place}.{suffix}", damaged)
    seen["refused" if found is None else "read"] += 1
    if damage in HARMLESS and kind != HARMLESS[damage]:
        assert found == outcome(case, f"{case.place}.{kind}", content)
        seen["checked against the rule"] += 1
    elif kind in REFUSED.get(damage, ()):
        assert found is None
        seen["checked against the rule"] += 1


def check(drawn, *, python: bool) -> None:
    if isinstance(drawn[2], tuple):
        check_value(*drawn, python=python)
    else:
        check_damage(*drawn)


HYPOTHESIS = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck), "database": None}


@pytest.mark.parametrize("name", CASES)
def test_the_row_of_a_case_is_read_in_every_format(name):
    case = CASES[name]
    found = [outcome(case, f"{case.place}.{kind}", write(case.row, kind).content) for kind in case.formats]
    assert (
        found[0]
        and found[0].ids
        and all(each and each.texts == found[0].texts and each.numbers == found[0].numbers for each in found)
    )


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].formats != ("trec",)])
def test_a_missing_column_is_refused_or_optional(name):
    case = CASES[name]
    for key in case.row:
        row = {other: value for other, value in case.row.items() if other != key}
        found = [outcome(case, f"{case.place}.{kind}", write(row, kind).content) for kind in case.formats]
        assert len({each is None for each in found}) == 1
        if case.rules.get((key,)) in ("text", "element", "side", "id", "rating"):
            assert found[0] is None


@settings(max_examples=200, **HYPOTHESIS)
@given(st.one_of(a_value(), a_damage()), st.booleans())
def test_malformed_files_are_refused_or_read_as_written(drawn, python):
    check(drawn, python=python)


@pytest.mark.slow
def test_thousands_of_malformed_files_are_refused_or_read_as_written(capsys):
    seen.clear()
    settings(max_examples=4000, **HYPOTHESIS)(
        given(st.one_of(a_value(), a_damage()), st.booleans())(lambda drawn, python: check(drawn, python=python))
    )()
    with capsys.disabled():
        print(f"\n{dict(seen)}")
    assert seen["refused"] + seen["read"] >= 2000


@settings(max_examples=50, **HYPOTHESIS)
@given(values, st.sampled_from(["query", "instruction", "text"]))
def test_texts_of_any_source_are_checked_before_they_are_written(value, place):
    texts = {"query": "why", "instruction": "find", "text": "because", place: value}

    class Given:
        name = "given"

        def identity(self):
            return {}

        def examples(self):
            yield Example("q", texts["query"], (Document("d", texts["text"]),), texts["instruction"])

        def dev(self):
            return None

    with tempfile.TemporaryDirectory() as folder:
        if is_text(value) or (place == "instruction" and isinstance(value, str) and not value.strip()):
            assert value in of_prepared(Path(folder), Given()).texts
        else:
            with pytest.raises(InputError, match=r"given: query 'q': "):
                prepare(Given(), Path(folder))
