"""Plots of a run: loss, development metric, and the change by training per query; of comparisons and leaderboards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reasonir.eval.leaderboard import Standings, headline
from reasonir.eval.results import Results
from reasonir.eval.stats.comparison import PairwiseComparison
from reasonir.utils.plotting import COLOURS, GREY, PALE, drawing, look

Curve = tuple[Sequence[int], Sequence[float]]


def plot_run(curves: Mapping[str, Curve], results: Results, folder: Path) -> list[Path]:
    """Write the plots that a run has data for and return the files.

    Args:
        curves: steps and values of every logged metric.
        results: results of the evaluation; change per query needs the systems untrained and trained.
        folder: folder of the files.
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


def plot_comparisons(comparisons: Sequence[PairwiseComparison], metric: str, file: Path) -> Path:
    """Plot every comparison's difference with its confidence interval, and return the file."""
    with drawing(file, 8, 1.2 + 0.32 * len(comparisons)) as (_, (axes,)):
        for row, comparison in enumerate(reversed(comparisons)):
            colour = COLOURS[0] if comparison.p_holm < 0.05 else GREY
            axes.plot([comparison.low, comparison.high], [row, row], color=colour)
            axes.plot(comparison.delta, row, "o", color=colour)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(comparisons)), [f"{c.task}: {c.first} - {c.second}" for c in reversed(comparisons)])
        axes.set(xlabel=f"Δ {metric}, 95% CI (blue: p < .05 after Holm)")
    return file


def plot_standings(standings: Standings, file: Path) -> Path:
    """Plot a leaderboard: the evaluated system dark, unranked ones hatched, rows under other conditions pale."""
    rows = list(reversed(standings.rows))
    with drawing(file, 9, 1.5 + 0.2 * len(rows)) as (figure, (axes,)):
        for number, row in enumerate(rows):
            if row.kind == "evaluated":
                fill = {"color": COLOURS[0]}
            elif row.kind == "unranked":
                fill = {"facecolor": "white", "edgecolor": COLOURS[0], "hatch": "////"}
            else:
                fill = {"color": GREY if row.rank else PALE}
            axes.barh(number, row.mean, height=0.75, **fill)
            if row.span:
                axes.plot(row.span, [number, number], color="black", marker="|", linewidth=1)
            axes.text(max([row.mean, *(row.span or ())]) + 0.5, number, f"{row.mean:.1f}", va="center", fontsize=8)
        names = [row.model + (f" [{'; '.join(row.conditions)}]" if row.conditions else "") for row in rows]
        axes.set_yticks(range(len(rows)), names, fontsize=8)
        for row, label in zip(rows, axes.get_yticklabels(), strict=True):
            label.set_fontweight("bold" if row.kind == "evaluated" else "normal")
        axes.set(ylim=(-0.7, len(rows) - 0.3), xlabel="mean x 100; dark: yours with its 95% CI; pale: not comparable")
        axes.grid(visible=False, axis="y")
        figure.suptitle(headline(standings))
    return file


def _curve(curve: Curve, title: str, file: Path) -> Path:
    with drawing(file) as (_, (axes,)):
        axes.plot(*curve, **(look(0) if len(curve[0]) < 30 else {"color": COLOURS[0]}))
        axes.set(title=title, xlabel="optimiser step")
    return file


def _change(change: Sequence[float], label: str, file: Path) -> Path:
    better, worse = sum(value > 0 for value in change), sum(value < 0 for value in change)
    with drawing(file) as (_, (axes,)):
        colours = [COLOURS[0] if value > 0 else COLOURS[1] for value in change]
        axes.bar(range(len(change)), change, color=colours, width=1.0)
        axes.set(
            title=f"{label} against the untrained model, {better} queries better, {worse} worse",
            xlabel="queries, by change",
            ylabel="change",
        )
        axes.axhline(0, color="black", linewidth=0.8)
    return file
