"""The report's own figures, as SVG that takes the page's colours: legible in print, by daylight and by night.

Colours are Okabe and Ito's, which colour-blind people tell apart; every system has a marker of its own too, so that a
grey print shows as much. Texts stay texts, 8 points or more at the width of the page's column.
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

INK = "#010203"
"""Stands for the page's text colour until the SVG is on the page."""
LOOKS = (
    ("#0072b2", "o"),
    ("#d55e00", "s"),
    ("#009e73", "^"),
    ("#cc79a7", "D"),
    ("#e69f00", "v"),
    ("#56b4e9", "P"),
)
"""A colour and a marker for each system."""
_WIDTH, _POINTS = 7.0, 240
_SETTINGS = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # names of tasks may hold dollars
    "xtick.color": INK,
    "ytick.color": INK,
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
            panel.plot(steps, values, color=LOOKS[0][0], marker=LOOKS[0][1] if len(steps) < 30 else "", ms=3.5)
            panel.set_title(title, loc="left")
            panel.set_xlabel("optimiser step")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if len(steps) == 1:
                panel.set_xlim(steps[0] - 1, steps[0] + 1)
            panel.grid(color=INK, alpha=0.15, linewidth=0.5)

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
            axes.plot(spans[task], [row, row], color=LOOKS[0][0], linewidth=2, alpha=0.6, zorder=1)
        for number, system in reversed(list(enumerate(systems))):
            colour, marker = LOOKS[number % len(LOOKS)]
            there = [
                (row, figures[task][system]) for row, task in zip(rows, tasks, strict=True) if system in figures[task]
            ]
            face = colour if system == judged else "none"
            axes.plot(
                [value for _, value in there],
                [row for row, _ in there],
                color=colour,
                markerfacecolor=face,
                linestyle="",
                marker=marker,
                ms=6,
                label=system,
            )
        axes.set_yticks(list(rows), tasks)
        axes.set(xlabel=metric, ylim=(0.4, len(tasks) + 0.6))
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.5)
        figure.legend(loc="outside upper left", ncols=len(LOOKS), reverse=True, handletextpad=0.2)

    title = f"{metric} by task; the bar is the 95 % interval of {judged}"
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
    svg = _NUMBERED.sub("", svg[svg.index("<svg") :].replace(INK, "currentColor").replace(LOOKS[0][0], "var(--blue)"))
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1))
