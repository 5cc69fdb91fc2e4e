"""Graceful stop: SIGINT or SIGTERM ends training after the current optimiser step, with a checkpoint."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)


class Interrupt:
    """Context manager that turns SIGINT and SIGTERM into a request to stop after the current optimiser step.

    Outside of training, and on the second signal, the guarded block ends at once. Either way the process exits with
    status 128 + signal.

    Attributes:
        received: number of the last signal, None before the first.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._training = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self._listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self.received is not None and kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit):
            raise SystemExit(128 + self.received)

    def training_starts(self) -> None:
        """Let the first signal wait for the end of the step; replaces the handlers that Lightning has installed."""
        self._training = True
        self._listen()

    def training_ends(self) -> None:
        """Let a signal end the block at once."""
        self._training = False

    def _listen(self) -> None:
        for number in self._previous:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _: FrameType | None) -> None:
        repeated, self.received = self.received is not None, number
        if repeated or not self._training:
            raise KeyboardInterrupt
        log.warning("%s: stopping after this step with a checkpoint", signal.Signals(number).name)
