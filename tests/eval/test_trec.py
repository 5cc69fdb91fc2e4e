import pytest

from reasonir.errors import InputError
from reasonir.eval.trec import read_run, write_run

RUN = {"q 1": {"a b.txt": 1.5, "c": 1.5, "d": 0.1}, "2": {"x": -1e-7}}


def test_ids_with_spaces_survive(tmp_path):
    write_run(RUN, tmp_path / "runs" / "r.trec", "our system")
    assert read_run(tmp_path / "runs" / "r.trec") == RUN
    first = (tmp_path / "runs" / "r.trec").read_text().splitlines()[0]
    assert first == "q 1 Q0 c 1 1.5 our_system"
    assert [file.name for file in (tmp_path / "runs").iterdir()] == ["r.trec"]


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "r.trec").write_text("1 Q0 d 1 0.5 name\n1 Q0 d 0.5\n")
    with pytest.raises(InputError, match=r"r.trec, line 2: expected 'query Q0 document rank score name'"):
        read_run(tmp_path / "r.trec")
