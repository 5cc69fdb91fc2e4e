import contextlib
import gzip
import random
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonir.errors import InputError
from reasonir.eval.trec import ordered, read_judgements, read_run, write_run
from reasonir.utils.values import check_id

RUN = {"q 1": {"a b.txt": 1.5, "c": 1.5, "d": 0.1}, "2": {"x": -1e-7}}


def test_ids_with_spaces_survive(tmp_path):
    write_run(RUN, tmp_path / "runs" / "r.trec", "our system")
    assert read_run(tmp_path / "runs" / "r.trec") == RUN
    lines = (tmp_path / "runs" / "r.trec").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("q 1\tQ0\tc\t1\t1.5\tour_system", "2 Q0 x 1 -1e-07 our_system")
    assert [file.name for file in (tmp_path / "runs").iterdir()] == ["r.trec"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 Q0 d 0.5", "line 2: expected 'query Q0 document rank score name'"),
        ("1 Q0 d 2 high name", "line 2: the score is 'high', expected a number"),
        ("1 Q0 d 2 nan name", "line 2: the score is 'nan', expected a number"),
        ("1 Q0 d 2 -inf name", "line 2: the score is '-inf', expected a number"),
        ("1 Q0 d 2 1e39 name", "line 2: the score is '1e39', expected a number from"),
        ("1 Q0 d 2 1_0 name", "line 2: the score is '1_0', expected a number"),
        ("1 Q0 d 1 0.5 2 name", "line 2: expected 'query Q0 document rank score name'"),
        ("x Q0 y Q0 d 1 0.5 name", "or separate the columns with tabs"),
        ("my query Q0 d 1 0.5", "line 2: expected 'query Q0 document rank score name'"),
        ("x 0 y 0 d 1 0.5 name", "or separate the columns with tabs"),
        ("x y d 1 0.5 name more", "line 2: expected 'query Q0 document rank score name'"),
        ("1\tQ0\t\t1\t0.5\tname", "line 2: the id is ''"),
        ("1 Q0 d 2 0.4 name", "line 2: 'd' is ranked twice for query '1'"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    (tmp_path / "r.trec").write_text(f"1 Q0 d 1 0.5 name\n{line}\n")
    with pytest.raises(InputError) as refused:
        read_run(tmp_path / "r.trec")
    assert message in str(refused.value)


def test_judgements_are_read_with_any_separator(tmp_path):
    (tmp_path / "q.txt").write_text("1\t0\ta b.txt\t1\n1 0 c  2\n\n2 Q0 d -1\n")
    assert read_judgements(tmp_path / "q.txt") == {"1": {"a b.txt": 1, "c": 2}, "2": {"d": -1}}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("1 0 a 1 1.0 x\n1 0 b 2 0.5 x", {"1": {"a": 1.0, "b": 0.5}}),  # as trec_eval's own test files
        ("1 Q0 a -1 1.0 x\n1 q0 b -1 0.5 x", {"1": {"a": 1.0, "b": 0.5}}),
        ("1\tQ0\ta\t1.0\t1e-3\tx\r\n", {"1": {"a": 0.001}}),
        ("1\t0 a  NA\t2 x", {"1": {"a": 2.0}}),
        (" 1 iteration a 1 2 x ", {"1": {"a": 2.0}}),
        ("my query Q0 a  b 0 c.txt 1 2 x", {"my query": {"a  b 0 c.txt": 2.0}}),
        ("my query 0 a b.txt -1 2 x", {"my query": {"a b.txt": 2.0}}),
        ("q\xa0r Q0 d\u2028\x85 1 2 x", {"q\xa0r": {"d\u2028\x85": 2.0}}),
        ("", {}),
    ],
)
def test_runs_are_read_as_other_tools_write_them(tmp_path, lines, expected):
    (tmp_path / "r.trec").write_text(lines, newline="")
    assert read_run(tmp_path / "r.trec") == expected
    (tmp_path / "r.gz").write_bytes(gzip.compress(lines.encode()))
    assert read_run(tmp_path / "r.gz") == expected


PARTS = [*"a0 Q.-#'\",[]{}\\", " Q0 ", " 0 ", "  ", "\xa0", "\x85", "\u2028", "\u3000", "\x1c", "\x0b", "\x0c", "\x00"]
PARTS += ["\ufeff", "\u200b", "é", "日本", "😀", "x Q0 y 1 0.5 name", "None", "nan", "x" * 300]


def test_ten_thousand_nasty_ids_come_back(tmp_path):
    draw = random.Random(7)
    ids = {"".join(draw.choices(PARTS, k=draw.randint(1, 6))) for _ in range(24_000)}
    ids = sorted(each for each in ids if each.strip() and not each.startswith("\ufeff"))[:10_000]
    assert len(ids) == 10_000
    run = {query: {doc: draw.gauss(0, 1e3) for doc in draw.sample(ids, 3)} for query in ids}
    write_run(run, tmp_path / "r.trec", "x\ty z")
    assert read_run(tmp_path / "r.trec") == run


@given(st.dictionaries(st.text(min_size=1), st.floats(-3e38, 3e38), min_size=1, max_size=5), st.text(min_size=1))
def test_a_written_run_comes_back_or_is_refused(tmp_path_factory, ranking, query_id):
    file = tmp_path_factory.mktemp("runs") / "r.trec"
    run = {query_id: ranking}
    try:
        for each in (query_id, *ranking):
            check_id(each, "the id")
    except InputError:
        with pytest.raises(InputError, match=r"r\.trec: an id is"):
            write_run(run, file, "x")
        assert not file.exists()
    else:
        write_run(run, file, "x")
        assert read_run(file) == run


@pytest.mark.parametrize("nasty", ["", " ", "a\tb", "a\nb", "a\rb", "\ufeffa", "\ud83d"])
def test_an_id_that_no_line_can_carry_is_refused_before_a_file_is_there(tmp_path, nasty):
    for run in ({nasty: {"d": 1.0}}, {"q": {"d": 1.0, nasty: 2.0}}):
        with pytest.raises(InputError, match=r"r\.trec: an id is"):
            write_run(run, tmp_path / "r.trec", "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_scores_that_have_no_place_in_an_order_are_refused(tmp_path, score):
    with pytest.raises(InputError, match=rf"the score of document 'b' is {re.escape(str(score))}, expected a number"):
        ordered({"a": 1.0, "b": score})
    with pytest.raises(InputError, match="the score of document 'b'"):
        write_run({"q": {"a": 1.0, "b": score}}, tmp_path / "r.trec", "x")
    assert list(tmp_path.iterdir()) == []


def test_numpys_scores_are_written_as_numbers(tmp_path):
    write_run({"q": {"a": np.float32(0.1), "b": np.float64(0.1)}}, tmp_path / "r.trec", "x")
    assert read_run(tmp_path / "r.trec") == {"q": {"a": float(np.float32(0.1)), "b": 0.1}}


def test_judgements_may_be_written_as_floats_repeated_and_negative(tmp_path):
    (tmp_path / "q.txt").write_text("1 0 a 1.0\n1 0 a 1\n1 0 b -2\nmy query\t0\tc d\t2\n")
    assert read_judgements(tmp_path / "q.txt") == {"1": {"a": 1, "b": -2}, "my query": {"c d": 2}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0 a 2", "line 2: 'a' has label 2 for query '1', and 1 before: remove one of the lines"),
        ("1 0 b 1.9", "line 2: the label is '1.9', expected a whole number"),
        ("1 0 b .5", "line 2: the label is '.5', expected a whole number"),
        ("1 0 b true", "line 2: the label is 'true', expected a whole number"),
        ("1 0 b 200000000", "line 2: the label is '200000000', expected a whole number from -10,000 to 10,000"),
        ("1 0 b nan", "line 2: the label is 'nan', expected a whole number"),
        ("1 0 b", "line 2: expected 'query 0 document label', found '1 0 b'"),
    ],
)
def test_judgements_that_are_no_grades_or_contradict_each_other_are_refused(tmp_path, line, message):
    (tmp_path / "q.txt").write_text(f"1 0 a 1\n{line}\n")
    with pytest.raises(InputError) as refused:
        read_judgements(tmp_path / "q.txt")
    assert message in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"1 0 d\n", b"\xff\xfe1 0 d 1\n"])
def test_invalid_judgements_are_refused(tmp_path, content):
    (tmp_path / "q.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"q\.txt"):
        read_judgements(tmp_path / "q.txt")


def test_a_truncated_archive_is_named(tmp_path):
    whole = gzip.compress(b"".join(b"1 Q0 d%d 1 0.5 name\n" % n for n in range(50)))
    (tmp_path / "r.gz").write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"r\.gz isn't a complete gzip file"):
        read_run(tmp_path / "r.gz")


def test_a_damaged_archive_is_named(tmp_path):
    whole = bytearray(gzip.compress(b"".join(b"1 Q0 d%d 1 0.5 name\n" % n for n in range(50))))
    whole[12:16] = b"\xff\xff\xff\xff"
    (tmp_path / "r.gz").write_bytes(whole)
    with pytest.raises(InputError, match=r"r\.gz isn't a complete gzip file"):
        read_run(tmp_path / "r.gz")


def test_a_byte_order_mark_belongs_to_no_query(tmp_path):
    (tmp_path / "r.trec").write_bytes(b"\xef\xbb\xbf1 Q0 best 1 2.0 x\n1 Q0 second 2 1.0 x\n")
    assert read_run(tmp_path / "r.trec") == {"1": {"best": 2.0, "second": 1.0}}
    (tmp_path / "q.txt").write_bytes(b"\xef\xbb\xbf1 0 best 1\n")
    assert read_judgements(tmp_path / "q.txt") == {"1": {"best": 1}}


def test_documents_are_ordered_by_single_precision_scores(tmp_path):
    write_run({"1": {"a": 1.0 + 1e-9, "b": 1.0}}, tmp_path / "r.trec", "x")
    assert [line.split()[2] for line in (tmp_path / "r.trec").read_text().splitlines()] == ["b", "a"]


@pytest.mark.parametrize("read", [read_run, read_judgements])
@pytest.mark.parametrize("line", ["1" + " " * 90_000 + "a", "1 Q0" * 20_000, "0 " * 45_000, " 1" * 45_000 + " "])
def test_a_long_line_is_read_or_refused_at_once(tmp_path, read, line):
    """By a regular expression it would take hours."""
    (tmp_path / "r.trec").write_text(f"{line}\n" * 20)
    started = time.monotonic()
    with contextlib.suppress(InputError):
        read(tmp_path / "r.trec")
    assert time.monotonic() - started < 10
    (tmp_path / "r.trec").write_text("1" * 100_001)
    with pytest.raises(InputError, match="line 1 has more than 100,000 characters"):
        read(tmp_path / "r.trec")
