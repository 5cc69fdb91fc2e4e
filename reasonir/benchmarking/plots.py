"""Plots of a benchmark: bars of step time and memory, and their growth with the tokens of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasonir.utils.plotting import COLOURS, GREY, drawing


def plot_steps(title: str, peers: Mapping[str, Mapping[str, Any]], file: Path) -> None:
    """Plot median, fastest and slowest step time, and peak memory of every peer."""
    names = list(peers)[::-1]
    colours = [COLOURS[0] if name.startswith("reasonir") else GREY for name in names]
    rows = range(len(names))
    with drawing(file, 10, 1.4 + 0.32 * len(peers), panels=2) as (figure, (times, memory)):
        for axes, key, unit, label in (
            (times, "step_s", 1.0, "seconds per step: median, fastest to slowest"),
            (memory, "peak_bytes", 2.0**30, "peak GiB above the model"),
        ):
            values = [peers[name][key] / unit for name in names]
            bars = axes.barh(rows, values, color=colours, height=0.7)
            axes.bar_label(bars, fmt="%.3g", padding=6, fontsize=8)
            axes.margins(x=0.2)
            axes.grid(visible=False, axis="y")
            axes.set(xlabel=label)
        for row, name in zip(rows, names, strict=True):
            figures = peers[name]
            times.plot(
                [figures["step_s_min"], figures["step_s_max"]], [row, row], color="black", marker="|", linewidth=1
            )
        times.set_yticks(rows, names)
        memory.set_yticks(rows, [""] * len(names))
        figure.suptitle(title)


def plot_scaling(title: str, points: Sequence[Mapping[str, float]], slopes: Mapping[str, float], file: Path) -> None:
    """Plot seconds and memory against tokens on logarithmic axes, one line per document length."""
    lengths = sorted({point["length"] for point in points})
    with drawing(file, 10, panels=2) as (figure, panels):
        for axes, key, unit, label in (
            (panels[0], "step_s", 1.0, "seconds per step"),
            (panels[1], "peak_bytes", 2.0**30, "peak GiB above the model"),
        ):
            for number, length in enumerate(lengths):
                line = [point for point in points if point["length"] == length]
                shade = str(0.8 - 0.7 * number / max(1, len(lengths) - 1))
                tokens, values = [point["tokens"] for point in line], [point[key] / unit for point in line]
                axes.plot(tokens, values, color=shade, marker="o", label=f"{length:.0f}")
            axes.set(xscale="log", yscale="log", xlabel=f"tokens per step; slope {slopes[key]:.2f}", ylabel=label)
        panels[0].legend(title="document tokens")
        figure.suptitle(title)
