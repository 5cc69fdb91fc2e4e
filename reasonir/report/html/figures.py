"""Figures of the report as SVG in the page's colours: legible in print, in light and in dark mode.

Every system has its own colour and marker, so that a greyscale print is readable. Text stays text, at least 8 points at
the width of the page's column.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from reasonir.report.html.page import Figure
from reasonir.report.plots import Curve
from reasonir.utils.plotting import COLOURS, STYLE, look

INK = "#010203"
"""Placeholder of the page's text colour."""
_WIDTH, _POINTS = 7.0, 240
_SETTINGS = {
    **STYLE,
    **dict.fromkeys(
        ("axes.edgecolor", "axes.labelcolor", "grid.color", "text.color", "xtick.color", "ytick.color"), INK
    ),
    "axes.titlesize": 9,
    "svg.fonttype": "none",
}
_NUMBERED = re.compile(r' id="[a-zA-Z0-9]+(_[a-zA-Z0-9]+)*_\d+"')


def draw_curves(curves: Mapping[str, Curve], titles: Mapping[str, str]) -> Figure | None:
    """Plot logged metrics, one panel each; None if none was logged.

    Args:
        curves: steps and values of every logged metric.
        titles: titles by metric, in the order of the panels.
    """
    drawn = {name: title for name, title in titles.items() if curves.get(name, ((), ()))[0]}
    if not drawn:
        return None
    from matplotlib.ticker import MaxNLocator

    rows = -(-len(drawn) // 2)

    def paint(figure: Any) -> None:
        panels = figure.subplots(rows, 2, squeeze=False).flatten()
        for panel in panels[len(drawn) :]:
            panel.set_axis_off()
        for panel, (name, title) in zip(panels, drawn.items(), strict=False):
            steps, values = _thinned(curves[name])
            panel.plot(steps, values, **(look(0) if len(steps) < 30 else {"color": COLOURS[0]}))
            panel.set_title(title, loc="left")
            panel.set_xlabel("optimiser step")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if len(steps) == 1:
                panel.set_xlim(steps[0] - 1, steps[0] + 1)

    every = max(1, *(-(-len(curves[name][0]) // _POINTS) for name in drawn))
    title = "Training curves" + (f"; a point is the mean of up to {every} logged values" if every > 1 else "")
    return Figure(title, _svg(paint, 0.3 + 2.0 * rows, f"Curves of {', '.join(drawn.values())}"))


def draw_tasks(
    tasks: Sequence[str],
    figures: Mapping[str, Mapping[str, float]],
    spans: Mapping[str, tuple[float, float]],
    evaluated: str,
    metric: str,
) -> Figure:
    """Plot every system's result on every task, the evaluated one's with its confidence interval.

    Args:
        tasks: tasks from top to bottom.
        figures: task -> system -> value.
        spans: bounds of the evaluated system's intervals, by task.
        evaluated: name of the evaluated system.
        metric: display name of the metric.
    """
    systems = [evaluated, *dict.fromkeys(name for task in tasks for name in figures[task] if name != evaluated)]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        rows = range(len(tasks), 0, -1)
        for row, task in zip(rows, tasks, strict=True):
            axes.plot(spans[task], [row, row], color=COLOURS[0], linewidth=2, alpha=0.6, zorder=1)
        for number, system in reversed(list(enumerate(systems))):
            points = [
                (row, figures[task][system]) for row, task in zip(rows, tasks, strict=True) if system in figures[task]
            ]
            axes.plot(
                [value for _, value in points],
                [row for row, _ in points],
                **look(number),
                fillstyle="full" if system == evaluated else "none",
                linestyle="",
                ms=6,
                label=system,
            )
        axes.set_yticks(list(rows), tasks)
        axes.set(xlabel=metric, ylim=(0.4, len(tasks) + 0.6))
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper left", ncols=len(COLOURS), reverse=True, handletextpad=0.2)

    title = f"{metric} by task; the bar is the 95% CI of {evaluated}"
    return Figure(title, _svg(paint, 0.9 + 0.26 * len(tasks), f"{metric} of {', '.join(systems)} on each task"))


def read_png(file: Path, title: str) -> Figure:
    """Embed a PNG file written by another part of the run."""
    return Figure(title, png=b64encode(file.read_bytes()).decode())


def _thinned(curve: Curve) -> tuple[list[float], list[float]]:
    """Downsample to at most `_POINTS` points by means over neighbours, to bound the size of the page."""
    every = max(1, -(-len(curve[0]) // _POINTS))
    cut = [np.array_split(np.asarray(part, dtype=float), range(every, len(part), every)) for part in curve]
    return [float(part[-1]) for part in cut[0]], [float(part.mean()) for part in cut[1]]


def _svg(paint: Any, height: float, label: str) -> Markup:
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Drawing

    with rc_context({**_SETTINGS, "svg.hashsalt": label}):
        drawn = Drawing(figsize=(_WIDTH, height), layout="constrained")
        paint(drawn)
        text = StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        drawn.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    svg = _NUMBERED.sub("", svg[svg.index("<svg") :].replace(INK, "currentColor").replace(COLOURS[0], "var(--blue)"))
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1))
