"""The report's own figures, as SVG that takes the page's colours: legible in print, by daylight and by night.

Every system has a colour and a marker of its own, so that a grey print shows as much. Texts stay texts, 8 points or
more at the width of the page's column.
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
"""Stands for the page's text colour until the SVG is on the page."""
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
    """What training logged, a panel each; None where nothing was.

    Args:
        curves: steps and values of every logged number.
        titles: the numbers that are drawn, in this order, and what they are called.
    """
    there = {name: title for name, title in titles.items() if curves.get(name, ((), ()))[0]}
    if not there:
        return None
    from matplotlib.ticker import MaxNLocator

    rows = -(-len(there) // 2)

    def paint(figure: Any) -> None:
        panels = figure.subplots(rows, 2, squeeze=False).flatten()
        for panel in panels[len(there) :]:
            panel.set_axis_off()
        for panel, (name, title) in zip(panels, there.items(), strict=False):
            steps, values = _thinned(curves[name])
            panel.plot(steps, values, **(look(0) if len(steps) < 30 else {"color": COLOURS[0]}))
            panel.set_title(title, loc="left")
            panel.set_xlabel("optimiser step")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if len(steps) == 1:
                panel.set_xlim(steps[0] - 1, steps[0] + 1)

    every = max(1, *(-(-len(curves[name][0]) // _POINTS) for name in there))
    title = "Training, step by step" + (f"; a point is the mean of up to {every} logged values" if every > 1 else "")
    return Figure(title, _svg(paint, 0.3 + 2.0 * rows, f"Curves of {', '.join(there.values())}"))


def draw_tasks(
    tasks: Sequence[str],
    figures: Mapping[str, Mapping[str, float]],
    spans: Mapping[str, tuple[float, float]],
    judged: str,
    metric: str,
) -> Figure:
    """Every system's figure on every task, the judged one's with its interval.

    Args:
        tasks: from top to bottom.
        figures: task -> system -> figure.
        spans: of the judged system, by task.
        judged: its name.
        metric: as it is spoken of.
    """
    systems = [judged, *dict.fromkeys(name for task in tasks for name in figures[task] if name != judged)]

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        rows = range(len(tasks), 0, -1)
        for row, task in zip(rows, tasks, strict=True):
            axes.plot(spans[task], [row, row], color=COLOURS[0], linewidth=2, alpha=0.6, zorder=1)
        for number, system in reversed(list(enumerate(systems))):
            there = [
                (row, figures[task][system]) for row, task in zip(rows, tasks, strict=True) if system in figures[task]
            ]
            axes.plot(
                [value for _, value in there],
                [row for row, _ in there],
                **look(number),
                fillstyle="full" if system == judged else "none",
                linestyle="",
                ms=6,
                label=system,
            )
        axes.set_yticks(list(rows), tasks)
        axes.set(xlabel=metric, ylim=(0.4, len(tasks) + 0.6))
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper left", ncols=len(COLOURS), reverse=True, handletextpad=0.2)

    title = f"{metric} by task; the bar is the 95% CI of {judged}"
    return Figure(title, _svg(paint, 0.9 + 0.26 * len(tasks), f"{metric} of {', '.join(systems)} on each task"))


def kept_picture(file: Path, title: str) -> Figure:
    """A PNG file that another part of the run drew."""
    return Figure(title, png=b64encode(file.read_bytes()).decode())


def _thinned(curve: Curve) -> tuple[list[float], list[float]]:
    """At most so many points, each the mean of its neighbours, so that a long training's page stays small."""
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
