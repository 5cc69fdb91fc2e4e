import gzip

import pytest

from reasonir.errors import InputError
from reasonir.eval.trec import read_judgements, read_run, write_run

RUN = {"q 1": {"a b.txt": 1.5, "c": 1.5, "d": 0.1}, "2": {"x": -1e-7}}


def test_ids_with_spaces_survive(tmp_path):
    write_run(RUN, tmp_path / "runs" / "r.trec", "our system")
    assert read_run(tmp_path / "runs" / "r.trec") == RUN
    first = (tmp_path / "runs" / "r.trec").read_text().splitlines()[0]
    assert first == "q 1 Q0 c 1 1.5 our_system"
    assert [file.name for file in (tmp_path / "runs").iterdir()] == ["r.trec"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 Q0 d 0.5", "line 2: expected 'query Q0 document rank score name'"),
        ("1 Q0 d 2 high name", "line 2: expected 'query Q0 document rank score name'"),
        ("1 Q0 d 2 nan name", "line 2: expected 'query Q0 document rank score name'"),
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


@pytest.mark.parametrize("content", [b"", b"1 0 d\n", b"\xff\xfe1 0 d 1\n"])
def test_invalid_judgements_are_refused(tmp_path, content):
    (tmp_path / "q.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"q\.txt"):
        read_judgements(tmp_path / "q.txt")


def test_a_truncated_archive_is_named(tmp_path):
    whole = gzip.compress(b"".join(b"1 Q0 d%d 1 0.5 name\n" % n for n in range(50)))
    (tmp_path / "r.gz").write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"r\.gz can't be read"):
        read_run(tmp_path / "r.gz")


def test_a_damaged_archive_is_named(tmp_path):
    whole = bytearray(gzip.compress(b"".join(b"1 Q0 d%d 1 0.5 name\n" % n for n in range(50))))
    whole[12:16] = b"\xff\xff\xff\xff"
    (tmp_path / "r.gz").write_bytes(whole)
    with pytest.raises(InputError, match=r"r\.gz can't be read"):
        read_run(tmp_path / "r.gz")


def test_a_byte_order_mark_belongs_to_no_query(tmp_path):
    (tmp_path / "r.trec").write_bytes(b"\xef\xbb\xbf1 Q0 best 1 2.0 x\n1 Q0 second 2 1.0 x\n")
    assert read_run(tmp_path / "r.trec") == {"1": {"best": 2.0, "second": 1.0}}
    (tmp_path / "q.txt").write_bytes(b"\xef\xbb\xbf1 0 best 1\n")
    assert read_judgements(tmp_path / "q.txt") == {"1": {"best": 1}}


def test_documents_are_ordered_by_single_precision_scores(tmp_path):
    write_run({"1": {"a": 1.0 + 1e-9, "b": 1.0}}, tmp_path / "r.trec", "x")
    assert [line.split()[2] for line in (tmp_path / "r.trec").read_text().splitlines()] == ["b", "a"]
