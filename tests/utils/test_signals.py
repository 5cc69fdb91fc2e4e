"""Signals that stop a command: handled within a block only, ignored ones never."""

import os
import signal

import pytest

from reasonir.utils.signals import STOPPING, handling, stop, stopped_by


@pytest.mark.parametrize(
    ("number", "ended"), [(n, KeyboardInterrupt if n == signal.SIGINT else SystemExit) for n in STOPPING]
)
def test_a_signal_ends_the_block_and_handlers_come_back(number, ended):
    before = [signal.getsignal(each) for each in STOPPING]
    with pytest.raises(ended) as raised, handling(stop):
        os.kill(os.getpid(), number)
    assert [signal.getsignal(each) for each in STOPPING] == before
    if ended is SystemExit:
        assert raised.value.code == 128 + number


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling(stop) as handled:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.SIGHUP not in handled
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_status_tells_the_signal():
    assert [stopped_by(status) for status in (129, 130, 143, 0, 2, None, "143")] == [
        "SIGHUP",
        "SIGINT",
        "SIGTERM",
        *[None] * 4,
    ]
