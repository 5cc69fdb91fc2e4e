"""What came out of a sweep: a row a job, means over seeds with their intervals, and a figure by swept parameter."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from rich.table import Table

from reasonir.eval.results import HEADLINE
from reasonir.report.console import show
from reasonir.report.plots import canvas
from reasonir.runs.outcome import FINISHED, JobRecord
from reasonir.sweep.jobs import SweepRecord, title
from reasonir.utils.files import atomic_path

SEED = "seed"
_MARKS = "os^Dv<>P"
_LONGEST = 300
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the summary.

    Attributes:
        name: its folder's.
        choices: what tells it from the others.
        outcome: how it ended.
        figure: the headline on the benchmark, averaged over its tasks; nan without.
    """

    name: str
    choices: Mapping[str, str]
    outcome: JobRecord
    figure: float

    @property
    def development(self) -> float:
        """The best development metric, nan without."""
        return nan if self.outcome.value is None else self.outcome.value


@dataclass(frozen=True, slots=True)
class SummaryGroup:
    """The finished jobs that differ in their seeds only.

    Attributes:
        choices: what they share, without the seed.
        figures: one a job.
    """

    choices: Mapping[str, str]
    figures: Sequence[float]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.figures)

    @property
    def margin(self) -> float:
        """Half the 95 % interval of the mean by Student's t over seeds; nan of a single one."""
        if len(self.figures) < 2:
            return nan
        from scipy.stats import t

        return float(t.ppf(0.975, len(self.figures) - 1)) * stdev(self.figures) / sqrt(len(self.figures))


class Summary(NamedTuple):
    """The files that were written, the table in Markdown, and the metric that counts."""

    files: list[Path]
    text: str
    metric: str


def summarise(swept: SweepRecord, jobs: Mapping[Path, JobRecord], folder: Path) -> Summary:
    """Write summary.csv, summary.md and, where there is something to compare, summary.png; print the table."""
    metric, rows = _read(swept, jobs)
    by_seed = groups(rows)
    files = [folder / "summary.csv", folder / "summary.md"]
    with atomic_path(files[0]) as partial, partial.open("w", newline="") as stream:
        csv.writer(stream).writerows(_rows(rows, metric))
    text = _markdown(by_seed, rows, metric)
    with atomic_path(files[1]) as partial:
        partial.write_text(text)
    if by_seed and any(len({group.choices.get(key) for group in by_seed}) > 1 for key in _keys(by_seed)):
        files.append(_plot(by_seed, metric, folder / "summary.png"))
    show(_table(rows, metric))
    return Summary(files, text, metric)


def groups(jobs: Sequence[Job]) -> list[SummaryGroup]:
    """The finished jobs, those together that differ in their seeds only, in the order of their first."""
    found: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for job in jobs:
        if job.outcome.status == FINISHED and not isnan(job.figure):
            shared = tuple((key, value) for key, value in job.choices.items() if key != SEED)
            found.setdefault(shared, []).append(job.figure)
    return [SummaryGroup(dict(shared), figures) for shared, figures in found.items()]


def _read(swept: SweepRecord, jobs: Mapping[Path, JobRecord]) -> tuple[str, list[Job]]:
    """The metric that counts, and a row a job."""
    metric, found = HEADLINE, []
    for folder, outcome in jobs.items():
        figure = nan
        if outcome.status == FINISHED and (folder / "results.json").is_file():
            document = json.loads((folder / "results.json").read_text())
            metric = document["protocol"].get("headline", HEADLINE)
            tasks = document["protocol"]["tasks"]
            figure = fmean(document["results"][task]["trained"][metric] for task in tasks)
        found.append(Job(folder.name, swept.choices(outcome.overrides), outcome, figure))
    return metric, found


def _keys(items: Sequence[Job] | Sequence[SummaryGroup]) -> list[str]:
    return list(dict.fromkeys(key for item in items for key in item.choices))


def _rows(jobs: Sequence[Job], metric: str) -> list[list[Any]]:
    keys = _keys(jobs)
    head = ["job", *keys, "status", f"test {metric}", "dev ndcg_at_10", "seconds", "run", "error"]
    return [head] + [
        [
            job.name,
            *(job.choices.get(key, "") for key in keys),
            job.outcome.status,
            _number(job.figure),
            _number(job.development),
            f"{job.outcome.seconds:.0f}",
            job.outcome.run_id or "",
            _in_a_line(job.outcome.error),
        ]
        for job in jobs
    ]


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:.4f}"


def _in_a_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def _markdown(by_seed: Sequence[SummaryGroup], jobs: Sequence[Job], metric: str) -> str:
    keys = _keys(by_seed)
    lines = [f"| {' | '.join([*keys, f'test {metric}', '95 % interval over seeds', 'seeds'])} |"]
    lines.append("|" + "---|" * (len(keys) + 3))
    for group in sorted(by_seed, key=lambda group: -group.mean):
        span = "" if isnan(group.margin) else f"{group.mean - group.margin:.4f} to {group.mean + group.margin:.4f}"
        cells = [*(group.choices.get(key, "") for key in keys), f"{group.mean:.4f}", span, str(len(group.figures))]
        lines.append(f"| {' | '.join(cells)} |")
    lost = [job for job in jobs if job.outcome.status != FINISHED]
    lines += ["", *(f"- job {job.name} ({title(job.choices)}): {job.outcome.error}" for job in lost)]
    return "\n".join(lines).strip() + "\n"


def _table(jobs: Sequence[Job], metric: str) -> Table:
    head, *rows = _rows(jobs, metric)
    found = Table(title="Sweep", title_justify="left")
    shown = [place for place, name in enumerate(head) if name != "run" and any(row[place] != "" for row in rows)]
    for place in shown:
        found.add_column(head[place], justify="left" if head[place] in ("status", "error") else "right")
    for row, job in zip(rows, jobs, strict=True):
        cells = [str(row[place]) for place in shown]
        found.add_row(*cells, style=None if job.outcome.status == FINISHED else "red")
    return found


def _plot(by_seed: Sequence[SummaryGroup], metric: str, file: Path) -> Path:
    """A panel a swept parameter: means with their intervals over seeds, a line a combination of the others."""
    keys = [key for key in _keys(by_seed) if len({group.choices.get(key) for group in by_seed}) > 1]
    figure, panels = canvas(4.5 * len(keys), 4, len(keys))
    for key, axes in zip(keys, panels, strict=True):
        lines: dict[str, list[SummaryGroup]] = {}
        for group in by_seed:
            others = {other: value for other, value in group.choices.items() if other != key and other in keys}
            lines.setdefault(title(others), []).append(group)
        values = list(dict.fromkeys(group.choices.get(key, "") for group in by_seed))
        places = _places(values)
        for number, (name, line) in enumerate(lines.items()):
            line.sort(key=lambda group: places[group.choices.get(key, "")])
            axes.errorbar(
                [places[group.choices.get(key, "")] for group in line],
                [group.mean for group in line],
                yerr=[0.0 if isnan(group.margin) else group.margin for group in line],
                color=_COLOURS[number % len(_COLOURS)],
                marker=_MARKS[number % len(_MARKS)],
                capsize=3,
                label=name or None,
            )
            for group in line:
                at = [places[group.choices.get(key, "")]] * len(group.figures)
                axes.plot(at, group.figures, ".", color=_COLOURS[number % len(_COLOURS)], alpha=0.4)
        axes.set(xlabel=key, ylabel=f"test {metric}")
        if _is_wide(places):
            axes.set_xscale("log")
        axes.set_xticks([places[value] for value in values], values)
        axes.minorticks_off()
        if len(lines) > 1:
            axes.legend(fontsize=8)
    figure.suptitle("Means with their 95 % intervals over seeds", fontsize=10)
    figure.savefig(file, dpi=120)
    return file


def _places(values: Sequence[str]) -> dict[str, float]:
    """Where values lie on an axis: numbers at themselves, anything else side by side."""
    try:
        return {value: float(value) for value in values}
    except ValueError:
        return {value: float(number) for number, value in enumerate(values)}


def _is_wide(places: Mapping[str, float]) -> bool:
    """Whether numbers are better told apart on a logarithmic axis."""
    return min(places.values()) > 0 and max(places.values()) / min(places.values()) > 20 and len(places) > 2
