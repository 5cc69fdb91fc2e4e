"""Signals that end a command in order: its files are complete or removed, its run is closed, its status tells why."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handling(handler: Handler) -> Iterator[list[int]]:
    """Call `handler` at the signals that stop a command, and yield their numbers; ignored ones stay so (nohup).

    Only the main thread can: in others nothing changes.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.getsignal(number) for number in STOPPING}
        previous = {number: former for number, former in previous.items() if former != signal.SIG_IGN}
        for number in previous:
            signal.signal(number, handler)
    try:
        yield list(previous)
    finally:
        for number, former in previous.items():
            signal.signal(number, former)


def stop(number: int, _: FrameType | None = None) -> None:
    """End the command as Python does at Ctrl-C, whatever the signal.

    Raises:
        KeyboardInterrupt: at SIGINT.
        SystemExit: at other signals, with status 128 + number.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def stopped_by(status: object) -> str | None:
    """Return the name of the signal that gave an exit status, None for other statuses."""
    return next((number.name for number in STOPPING if status == 128 + number), None)
