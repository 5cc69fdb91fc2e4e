"""The figures of a bench: bars of step time and memory, and how both grow with the tokens of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasonir.report.plots import canvas

_OURS, _THEIRS = "#0072b2", "#999999"


def plot_race(title: str, peers: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Draw step time, from the fastest to the slowest, and memory of every peer; the first one's name is ours."""
    figure, (times, memory) = canvas(10, 1.4 + 0.32 * len(peers), 2)
    names = list(peers)[::-1]
    colours = [_OURS if name.startswith("ours") else _THEIRS for name in names]
    places = range(len(names))
    for axes, key, unit, label in (
        (times, "step_s", 1.0, "seconds of a step: median, from fastest to slowest"),
        (memory, "peak_bytes", 2.0**30, "GiB above the model, at most"),
    ):
        values = [peers[name][key] / unit for name in names]
        axes.barh(places, values, color=colours, height=0.7)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.3g}", (value, place), xytext=(6, 0), textcoords="offset points", va="center", size=8
            )
        axes.margins(x=0.2)
        axes.set(xlabel=label)
    for place, name in zip(places, names, strict=True):
        each = peers[name]
        times.plot([each["step_s_min"], each["step_s_max"]], [place, place], color="black", marker="|", linewidth=1)
    times.set_yticks(places, names)
    memory.set_yticks(places, [""] * len(names))
    figure.suptitle(title, fontsize=10)
    figure.savefig(file, dpi=120)


def plot_scaling(title: str, points: Sequence[Mapping[str, float]], slopes: Mapping[str, float], file: Path) -> None:
    """Draw seconds and memory against tokens, both logarithmic, a line for each length of documents."""
    figure, panels = canvas(10, 4, 2)
    lengths = sorted({point["length"] for point in points})
    for axes, key, unit, label in (
        (panels[0], "step_s", 1.0, "seconds of a step"),
        (panels[1], "peak_bytes", 2.0**30, "GiB above the model"),
    ):
        for number, length in enumerate(lengths):
            line = [point for point in points if point["length"] == length]
            shade = str(0.8 - 0.7 * number / max(1, len(lengths) - 1))
            axes.plot(
                [point["tokens"] for point in line],
                [point[key] / unit for point in line],
                color=shade,
                marker="o",
                markersize=3,
                label=f"{length:.0f}",
            )
        axes.set(xscale="log", yscale="log", xlabel=f"tokens of a step; slope {slopes[key]:.2f}", ylabel=label)
    panels[0].legend(title="document tokens", fontsize=7, frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(file, dpi=120)
