"""Plot style: colours and markers that colour-blind readers can tell apart, sizes, grid and file saving.

Matplotlib is imported on first use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reasonir.utils.files import atomic_path

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette; the first colour is for the run's own system."""
MARKERS = "os^DvP"
GREY, PALE = "#999999", "#dddddd"
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "figure.titlesize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.5,
    "grid.color": "black",
    "legend.frameon": False,
    "lines.markersize": 4,
    "text.parse_math": False,  # names may contain dollars
}


def look(number: int) -> dict[str, Any]:
    """Return colour and marker of the system or line with this number."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


@contextmanager
def drawing(
    file: Path, width: float = 7, height: float = 4, *, panels: int = 1, ratios: tuple[float, ...] | None = None
) -> Iterator[tuple[Any, list[Any]]]:
    """Yield a figure and its axes from left to right; save it to `file` when the block ends.

    Args:
        file: the PNG to write.
        width: inches.
        height: inches.
        panels: number of axes.
        ratios: relative widths of the axes; None makes them equal.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(1, panels, squeeze=False, width_ratios=ratios)[0])
        with atomic_path(file) as partial:
            figure.savefig(partial, dpi=120, format="png")
