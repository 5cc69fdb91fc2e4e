"""Bars on a terminal: shown, gone afterwards, one below the other; nothing where there is no terminal."""

import doctest
import io
import logging
import sys
import time

import pytest

from reasonir.utils import progress as bars
from reasonir.utils.progress import PRINTED, LogFile, TerminalHandler, counting, part_of_it, progress


class Terminal(io.StringIO):
    """Keeps what a terminal would be sent."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Opens one; pytest puts its own streams back before a test begins."""

    def opened():
        there = Terminal()
        monkeypatch.setattr(sys, "stderr", there)
        return there

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return opened


def test_a_pipe_sees_nothing(capsys):
    assert list(progress([1, 2], "Counting", total=2)) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_work_inside_of_work_has_its_bar_below(terminal):
    seen, screen = [], terminal()
    for outer in progress("ab", "Outer", total=2):
        for inner in progress("cd", "Inner", total=2):
            seen.append(outer + inner)
            bars._open[0].display.refresh()
            assert [task.description for task in bars._open[0].display.tasks] == ["Outer", "Inner"]
    assert seen == ["ac", "ad", "bc", "bd"]
    assert not bars._open
    written = screen.getvalue()
    assert "Outer" in written
    assert "Inner" in written
    assert written.endswith("\x1b[2K")  # wiped away


def test_what_is_done_at_once_has_no_bar(terminal):
    screen = terminal()
    assert list(progress("a", "Once", total=1)) == ["a"]
    assert not screen.getvalue()


def test_a_bar_goes_when_work_fails_or_is_left(terminal):
    terminal()
    with pytest.raises(ZeroDivisionError):
        list(progress((1 // number for number in (1, 0)), "Failing", total=2))
    assert not bars._open
    left = progress("ab", "Left", total=2)
    next(left)
    assert bars._open
    left.close()
    assert not bars._open


def test_parts_move_the_bar_they_are_part_of(terminal):
    terminal()
    seen = []

    def blocks():
        for block in ("abc", "de"):
            seen.extend(bars._open[0].display.tasks[0].completed for _ in part_of_it(block, size=len))
            yield block

    blocks_of_five = progress(blocks(), "Reading", total=5, size=len)
    assert next(blocks_of_five) == "abc"
    assert list(blocks_of_five) == ["de"]
    assert seen == [0, 1, 2, 3, 4]


def test_parts_of_nothing_just_pass(terminal):
    terminal()
    assert list(part_of_it("ab", size=len)) == ["a", "b"]


def test_a_bar_never_goes_back(terminal):
    terminal()
    with counting("Training", 10, done=4) as bar:
        bar.reach(6, "Training, loss 1.0")
        bar.reach(5)
        (task,) = bars._open[0].display.tasks
        assert (task.completed, task.description) == (6, "Training, loss 1.0")


def test_messages_stand_above_the_bars(terminal):
    screen = terminal()
    handler = TerminalHandler(screen)
    message = logging.LogRecord("here", logging.INFO, "file", 1, "[a] message " + 150 * "x", None, None)
    with counting("Training", 10):
        handler.emit(message)
    above, _, _ = screen.getvalue().partition("\n")
    assert above.endswith("[a] message " + 150 * "x")
    handler.emit(logging.LogRecord("here", logging.INFO, "file", 1, "another x", None, None))
    assert screen.getvalue().endswith("another x\n")


def test_a_message_is_shown_once_and_one_for_the_log_not_at_all():
    screen = io.StringIO()
    handler = TerminalHandler(screen)
    for name, given in (("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")):
        handler.emit(logging.LogRecord(name, logging.WARNING, "file", 1, "no %s", (given,), None))
    handler.emit(logging.makeLogRecord({"msg": "a table", **PRINTED}))
    assert screen.getvalue() == "no x\nno y\n"


def test_examples_in_docstrings():
    assert doctest.testmod(bars).failed == 0


def test_the_rate_counts_in_the_unit(terminal):
    screen = terminal()
    with counting("Training", 10, unit="step") as bar:
        time.sleep(0.01)
        bar.reach(1)
        time.sleep(0.01)
        bar.reach(3)
        bars._open[0].display.refresh()
    assert "steps/s" in screen.getvalue()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), TypeError("not a number")])
def test_a_log_file_on_a_full_disk_prints_no_traceback_but_a_mistake_does(tmp_path, capsys, monkeypatch, error):
    def fails(record):
        raise error

    handler = LogFile(tmp_path / "log")
    monkeypatch.setattr(handler, "format", fails)
    handler.emit(logging.makeLogRecord({"msg": "text"}))
    handler.close()
    assert ("Traceback" in capsys.readouterr().err) == isinstance(error, TypeError)
