"""A progress bar on a terminal's standard error, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(
    items: Iterable[T], what: str, *, total: int | None = None, size: Callable[[T], int] = lambda item: 1
) -> Iterator[T]:
    """The items, counted on the terminal while they pass, with how many a second and the time that is left.

    Args:
        items: whatever takes time to come.
        what: shown beside the bar.
        total: of the sizes, where it is known.
        size: what an item counts for.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.0f}/s")

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(shown, size(item))
