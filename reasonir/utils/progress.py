"""Progress bars on standard error, nested ones below each other; nothing where it isn't a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

T = TypeVar("T")
_RATE_PERIOD = 300.0
"""Seconds over which the rate is averaged: a training step may take a minute."""
_open: list[Bar] = []
"""Bars on the terminal, the innermost last; they share a display, since two would overwrite each other."""
_state = SimpleNamespace(enabled=True)


class Bar:
    """Progress bar; without a display it only counts."""

    def __init__(self, display: Any = None, task: Any = None, done: int = 0) -> None:
        self.display = display
        self.done = done
        self._task = task

    def reach(self, done: int, what: str | None = None) -> None:
        """Raise the count to `done`; a lower one is ignored.

        Args:
            done: how much of the total is done.
            what: new description; None keeps it.
        """
        self.done = max(self.done, done)
        if self.display is not None:
            self.display.update(self._task, completed=self.done, description=what)


def show_no_bars() -> None:
    """Disable the bars of this process, since another process writes to the same terminal."""
    _state.enabled = False


@contextmanager
def counting(what: str, total: int | None = None, *, done: int = 0, unit: str = "item") -> Iterator[Bar]:
    """Show a bar while the block runs, for work that `progress` can't count item by item.

    Args:
        what: description next to the bar.
        total: None if unknown; 1 shows no bar.
        done: count at the start.
        unit: of the total, in the singular.
    """
    if total == 1 or not (_state.enabled and sys.stderr.isatty()):
        yield Bar()
        return
    first = not _open
    display = _display() if first else _open[0].display
    task = display.add_task(what, total=total, completed=done, unit=unit)
    bar = Bar(display, task, done)
    _open.append(bar)
    if first:
        display.start()
    try:
        yield bar
    finally:
        _open.remove(bar)
        if first:
            display.stop()
        else:
            display.remove_task(task)


def progress(
    items: Iterable[T], what: str, *, total: int | None = None, size: Callable[[T], int] = lambda item: 1
) -> Iterator[T]:
    """Yield the items and show their count, rate and remaining time on the terminal.

    Args:
        items: any iterable, usually a slow one.
        what: description next to the bar.
        total: sum of the sizes; None if unknown; 1 shows no bar.
        size: the count of an item.
    """
    done = 0
    with counting(what, total) as bar:
        for item in items:
            yield item
            done += size(item)
            bar.reach(done)


def part_of_it(items: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """Yield the parts of one item of the innermost `progress`, and advance its bar by their sizes."""
    bar = _open[-1] if _open else Bar()
    for item in items:
        yield item
        bar.reach(bar.done + size(item))


PRINTED = {"printed": True}
"""`extra` of messages for the log file alone, since the terminal shows them in another form."""


class TerminalHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Logging handler that shows each message once on standard error, above the bars, if any."""

    def __init__(self, stream: Any = None) -> None:
        super().__init__(stream)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless its message was shown before or is for the log file alone."""
        message = record.getMessage()
        if hasattr(record, "printed") or message in self._shown:
            return
        self._shown.add(message)
        if _open:
            _open[0].display.console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)
        else:
            super().emit(record)


class LogFile(logging.FileHandler):
    """Logging handler of a file that may run out of space, which ends the command with a message of its own."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Print the traceback of an error, except of one in writing."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def rate(per_second: float, unit: str) -> str:
    """Format a rate, below one per second as its inverse.

    >>> rate(1234.5, "step"), rate(2.5, "step"), rate(0.24, "step")
    ('1,234 steps/s', '2.5 steps/s', '4.2 s/step')
    """
    if per_second < 1:
        return f"{1 / per_second:,.1f} s/{unit}"
    return f"{per_second:,.{0 if per_second >= 10 else 1}f} {unit}s/s"


def _display() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(rate(task.speed, task.fields["unit"]) if task.speed else "")

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=_RATE_PERIOD)
