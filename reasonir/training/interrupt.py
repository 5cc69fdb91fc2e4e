"""Graceful stop: a signal ends training after the current optimiser step, with a checkpoint."""

from __future__ import annotations

import logging
import signal
from contextlib import ExitStack
from types import FrameType

from reasonir.utils.signals import handling, stop

log = logging.getLogger(__name__)


class Interrupt:
    """Context manager that turns SIGINT, SIGTERM and SIGHUP into a request to stop after the current optimiser step.

    Outside of training, and on the second signal, the guarded block ends at once. Either way the process exits with
    status 128 + signal.

    Attributes:
        received: number of the last signal, None before the first.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._training = False
        self._numbers: list[int] = []
        self._handlers = ExitStack()

    def __enter__(self) -> Interrupt:
        self._numbers = self._handlers.enter_context(handling(self._handle))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._handlers.close()
        if self.received is not None and kind is not None and issubclass(kind, KeyboardInterrupt | SystemExit):
            raise SystemExit(128 + self.received)

    def training_starts(self) -> None:
        """Let the first signal wait for the end of the step; replaces the handlers that Lightning has installed."""
        self._training = True
        for number in self._numbers:
            signal.signal(number, self._handle)

    def training_ends(self) -> None:
        """Let a signal end the block at once."""
        self._training = False

    def _handle(self, number: int, _: FrameType | None) -> None:
        repeated, self.received = self.received is not None, number
        if repeated or not self._training:
            stop(number)
        log.warning("%s: stopping after this step with a checkpoint", signal.Signals(number).name)
