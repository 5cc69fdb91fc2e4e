"""The history of a run: rewound exactly, and damage is said."""

import pytest

from reasonir.errors import InputError
from reasonir.runs.metrics_csv import History


@pytest.fixture
def history(tmp_path):
    history = History(tmp_path / "metrics.csv")
    for step in (1, 2, 3):
        history.log_metrics({"train/loss": 1 / step, "epoch": 0}, step)
    return history


def test_a_rewound_file_is_as_it_was_at_its_checkpoint(history, caplog):
    mark, before = history.mark(), history.file.read_bytes()
    history.log_metrics({"train/loss": 0.1}, 4)
    history.file.write_bytes(history.file.read_bytes() + b"5,train/lo")
    history.rewind(3)
    assert history.file.read_bytes() == before
    history.check(mark)
    assert caplog.text == ""
    assert history.curves() == {"train/loss": ([1, 2, 3], [1.0, 0.5, 1 / 3])}


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes().replace(b"0.5", b"0.7")),
        lambda file: file.write_bytes(file.read_bytes()[:-9]),
        lambda file: file.unlink(),
    ],
)
def test_other_values_than_at_the_checkpoint_give_a_warning(history, caplog, damage):
    mark = history.mark()
    damage(history.file)
    history.check(mark)
    assert "metrics.csv was changed or deleted after it was written" in caplog.text


@pytest.mark.parametrize(
    "line", [b"x,train/loss,0.5\n", b"2,train/loss\n", b"2,train/loss,\x00\n", b"\xff\xfe\n", b"\n"]
)
def test_a_damaged_line_is_named(history, line):
    history.file.write_bytes(history.file.read_bytes() + line + b"3,train/loss,0.1\n")
    for read in (history.curves, lambda: history.rewind(2)):
        with pytest.raises(InputError, match=r"metrics\.csv, line 4 is no 'step,metric,value' .*remove the line"):
            read()


def test_a_run_without_metrics_has_an_empty_history(tmp_path, caplog):
    history = History(tmp_path / "metrics.csv")
    history.check(history.mark())
    assert (history.curves(), caplog.text) == ({}, "")
