"""Progress bars on a terminal's standard error, one below the other where work is inside of work; nothing elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

T = TypeVar("T")
_MEMORY = 300.0
"""Seconds that the rate is taken over: a training step may take a minute."""
_open: list[Bar] = []
"""The bars on the terminal, the innermost last; they share a display, since two would write over each other."""
_here = SimpleNamespace(wanted=True)


class Bar:
    """A bar that is on the terminal, or, where there is no terminal, one that isn't."""

    def __init__(self, display: Any = None, task: Any = None, done: int = 0) -> None:
        self.display = display
        self.done = done
        self._task = task

    def reach(self, done: int, what: str | None = None) -> None:
        """So much is done; it never goes back.

        Args:
            done: of the total.
            what: shown beside the bar from here on.
        """
        self.done = max(self.done, done)
        if self.display is not None:
            self.display.update(self._task, completed=self.done, description=what)


def show_no_bars() -> None:
    """From here on this process shows none: another one that writes to the same terminal does."""
    _here.wanted = False


@contextmanager
def counting(what: str, total: int | None = None, *, done: int = 0, unit: str = "item") -> Iterator[Bar]:
    """A bar while the block runs, for what isn't counted by passing through `progress`.

    Args:
        what: shown beside the bar.
        total: where it is known; 1 shows no bar.
        done: of it when the block begins.
        unit: of the total, in the singular.
    """
    if total == 1 or not (_here.wanted and sys.stderr.isatty()):
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
    """The items, counted on the terminal while they pass, with how many a second and the time that is left.

    Args:
        items: whatever takes time to come.
        what: shown beside the bar.
        total: of the sizes, where it is known; 1 shows no bar.
        size: what an item counts for.
    """
    done = 0
    with counting(what, total) as bar:
        for item in items:
            yield item
            done += size(item)
            bar.reach(done)


def part_of_it(items: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
    """The items, which together are one item of the innermost `progress`: its bar moves on while they pass."""
    bar = _open[-1] if _open else Bar()
    for item in items:
        yield item
        bar.reach(bar.done + size(item))


PRINTED = {"printed": True}
"""The `extra` of messages for the log file alone: the terminal shows them in another form."""


class TerminalHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Messages on standard error, each once; above the bars where some are shown."""

    def __init__(self, stream: Any = None) -> None:
        super().__init__(stream)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        message = record.getMessage()
        if hasattr(record, "printed") or message in self._shown:
            return
        self._shown.add(message)
        if _open:
            _open[0].display.console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)
        else:
            super().emit(record)


def rate(per_second: float, unit: str) -> str:
    """How fast work goes.

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
    return Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=_MEMORY)
