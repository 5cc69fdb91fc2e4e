"""Bars on a terminal: shown, gone afterwards, one below the other; nothing where there is no terminal."""

import io
import sys

import pytest

from reasonir.data import progress as bars
from reasonir.data.progress import progress


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
            bars._open[0].refresh()
            assert [task.description for task in bars._open[0].tasks] == ["Outer", "Inner"]
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
