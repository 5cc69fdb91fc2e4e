"""The plots of a run: loss, development metric, and what training changed query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasonir.eval.leaderboard import Standings, headline
from reasonir.eval.results import Results
from reasonir.eval.stats.comparison import PairwiseComparison

Curve = tuple[Sequence[int], Sequence[float]]


def plot_run(curves: Mapping[str, Curve], results: Results, folder: Path) -> list[Path]:
    """Write what can be drawn of a run and return the files.

    Args:
        curves: steps and values of every logged number.
        results: the evaluation, with the systems untrained and trained or without.
        folder: the files go here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, title in (("train/loss", "Training loss"), ("dev/ndcg_at_10", "Development nDCG@10")):
        if name in curves:
            files.append(_curve(curves[name], title, folder / f"{name.replace('/', '_')}.png"))
    for task, systems in results.values.items():
        if {"untrained", "trained"} <= systems.keys():
            before, after = systems["untrained"], systems["trained"]
            change = sorted(after[query][results.headline] - before[query][results.headline] for query in after)
            files.append(_change(change, f"{task}: {results.headline}", folder / f"change_{task}.png"))
    return files


def plot_contrasts(contrasts: Sequence[PairwiseComparison], metric: str, file: Path) -> Path:
    """Draw every contrast's difference with its interval."""
    figure, (axes,) = canvas(8, 1.2 + 0.32 * len(contrasts))
    for row, each in enumerate(reversed(contrasts)):
        colour = "#0072b2" if each.p_holm < 0.05 else "#999999"
        axes.plot([each.low, each.high], [row, row], color=colour)
        axes.plot(each.delta, row, "o", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(contrasts)), [f"{c.task}: {c.first} - {c.second}" for c in reversed(contrasts)])
    axes.set(xlabel=f"difference in {metric}, 95 % interval (blue: p < .05 after Holm)")
    figure.savefig(file, dpi=120)
    return file


def plot_standings(standings: Standings, file: Path) -> Path:
    """Draw a leaderboard: the judged system dark, those beside it hatched, rows that can't be compared pale."""
    rows = list(reversed(standings.rows))
    figure, (axes,) = canvas(9, 1.5 + 0.2 * len(rows))
    for number, row in enumerate(rows):
        if row.kind == "judged":
            look = {"color": "#0072b2"}
        elif row.kind == "beside":
            look = {"facecolor": "white", "edgecolor": "#0072b2", "hatch": "////"}
        else:
            look = {"color": "#999999" if row.place else "#dddddd"}
        axes.barh(number, row.mean, height=0.75, **look)
        if row.span:
            axes.plot(row.span, [number, number], color="black", marker="|", linewidth=1)
        axes.text(max([row.mean, *(row.span or ())]) + 0.5, number, f"{row.mean:.1f}", va="center", fontsize=8)
    names = [row.model + (f" [{'; '.join(row.how)}]" if row.how else "") for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    for row, label in zip(rows, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if row.kind == "judged" else "normal")
    axes.set(
        ylim=(-0.7, len(rows) - 0.3), xlabel="mean x 100; dark: yours with its 95 % interval; pale: not comparable"
    )
    figure.suptitle(headline(standings), fontsize=9)
    figure.savefig(file, dpi=120)
    return file


def canvas(width: float = 7, height: float = 4, panels: int = 1) -> tuple[Any, list[Any]]:
    """A figure of so many inches with panels beside each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _curve(curve: Curve, title: str, file: Path) -> Path:
    figure, (axes,) = canvas()
    axes.plot(*curve, color="#0072b2", marker="o" if len(curve[0]) < 30 else None, markersize=3)
    axes.set(title=title, xlabel="optimiser step")
    figure.savefig(file, dpi=120)
    return file


def _change(change: Sequence[float], what: str, file: Path) -> Path:
    figure, (axes,) = canvas()
    colours = ["#0072b2" if value > 0 else "#d55e00" for value in change]
    axes.bar(range(len(change)), change, color=colours, width=1.0)
    better, worse = sum(value > 0 for value in change), sum(value < 0 for value in change)
    axes.set(
        title=f"{what} against the untrained model, {better} queries better, {worse} worse",
        xlabel="queries, by change",
        ylabel="change",
    )
    axes.axhline(0, color="black", linewidth=0.8)
    figure.savefig(file, dpi=120)
    return file
