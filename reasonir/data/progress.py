"""Progress bars on a terminal's standard error, one below the other where work is inside of work; nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_open: list[Any] = []
"""The display that is on the terminal: further bars join it, since two displays would write over each other."""


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
    if total == 1 or not sys.stderr.isatty():
        yield from items
        return
    joins = bool(_open)
    bar = _open[0] if joins else _display()
    shown = bar.add_task(what, total=total)
    if not joins:
        _open.append(bar)
        bar.start()
    try:
        for item in items:
            yield item
            bar.advance(shown, size(item))
    finally:
        if joins:
            bar.remove_task(shown)
        else:
            _open.remove(bar)
            bar.stop()


def _display() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.0f}/s")

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
