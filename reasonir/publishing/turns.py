"""Turns: requests in several threads share one model, a micro-batch each in the order of asking.

A model computes for one request at a time, since tokenizers and the device aren't for several. Between two
micro-batches a request lets those go first that have waited, so that a small one isn't held by a large one; there it
also ends when its time is over or nobody waits for its answer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Event, local


class TooLateError(Exception):
    """A request's time is over."""


class GoneError(Exception):
    """Nobody waits for a request's answer."""


class Deadline:
    """End of a request's work: after some seconds, or when it is given up."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._given_up = Event()

    def give_up(self) -> None:
        """End the work at its next micro-batch."""
        self._given_up.set()

    def check(self) -> None:
        """Raise if the work has to end.

        Raises:
            GoneError: it was given up.
            TooLateError: its time is over.
        """
        if self._given_up.is_set():
            raise GoneError
        if time.monotonic() > self._end:
            raise TooLateError


class Turns:
    """Turns of the threads that use one model."""

    def __init__(self) -> None:
        self._queue: deque[object] = deque()
        self._changed = Condition()
        self._current = local()

    @contextmanager
    def taken(self, deadline: Deadline) -> Iterator[None]:
        """Wait for a turn and hold it during the block, between whose micro-batches `pass_on` is called."""
        self._current.deadline = deadline
        self._wait()
        try:
            deadline.check()
            yield
        finally:
            self._leave()
            self._current.deadline = None

    def pass_on(self) -> None:
        """Let those who wait go first; a thread without a turn is left alone.

        Raises:
            GoneError, TooLateError: see `Deadline.check`.
        """
        deadline = getattr(self._current, "deadline", None)
        if deadline is None:
            return
        if len(self._queue) > 1:
            self._leave()
            self._wait()
        deadline.check()

    def _wait(self) -> None:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket)

    def _leave(self) -> None:
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()
