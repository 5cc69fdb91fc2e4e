import logging

import numpy as np
import pytest

from reasonir.data.base import content_key
from reasonir.data.files.corpus_store import Mapped, store
from reasonir.errors import InputError

ROWS = [("a b", "bees"), ("c%27", ""), ("3", "bees"), ("a b", "bees"), *((f"n{i}", f"text {i}") for i in range(3000))]


def rows(given=ROWS):
    return lambda: ((doc_id, text, f"row {number}") for number, (doc_id, text) in enumerate(given, 1))


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "source.jsonl"
    file.write_text("what the rows are read from")
    return file


def test_a_corpus_comes_back_from_the_disk_as_it_was_given(tmp_path, source):
    expected = dict(ROWS)
    found = store(rows(), [source], tmp_path / "kept", what="x")
    assert list(found.corpus.ids) == list(expected)
    assert list(found.corpus.texts) == list(expected.values())
    assert isinstance(found.corpus.texts, Mapped)
    assert found.corpus.texts[5] == "text 2"
    assert found.corpus.texts[1000:1003] == ["text 997", "text 998", "text 999"]
    assert found.corpus.texts[2 * len(expected) :] == []
    np.testing.assert_array_equal(found.keys_N, [content_key(text) for text in expected.values()])


def test_it_is_written_once_while_its_source_stays_the_same(tmp_path, source):
    def never():
        raise AssertionError("read again")

    first = store(rows(), [source], tmp_path / "kept", what="x")
    again = store(never, [source], tmp_path / "kept", what="x")
    assert again.digest == first.digest
    source.write_text("something else")
    other = store(rows([*ROWS, ("new", "text")]), [source], tmp_path / "kept", what="x")
    assert other.digest != first.digest
    assert other.corpus.ids[-1] == "new"


@pytest.mark.parametrize("damage", ["empty", "half", "noise", "text"])
def test_a_damaged_file_gives_a_warning_and_is_written_again(tmp_path, source, damage, caplog):
    first = store(rows(), [source], tmp_path / "kept", what="x")
    (file,) = (tmp_path / "kept").glob("*/documents.arrow")
    whole = file.read_bytes()
    altered = whole.replace(b"text 7", b"text 6")
    file.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "noise": b"\x07" * 500, "text": altered}[damage])
    with caplog.at_level(logging.WARNING):
        again = store(rows(), [source], tmp_path / "kept", what="x")
    assert "the cache is written again" in caplog.text
    assert again.digest == first.digest
    assert file.read_bytes() == whole


def test_one_id_with_two_texts_is_refused_and_nothing_is_left(tmp_path, source):
    with pytest.raises(InputError, match="row 3: id 'a' has two different texts"):
        store(rows([("a", "x"), ("b", "x"), ("a", "y")]), [source], tmp_path / "kept", what="x")
    assert [file.suffix for file in (tmp_path / "kept").iterdir()] == [".lock"]
