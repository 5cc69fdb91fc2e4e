"""Summary of a sweep: one row per job, means over seeds with confidence intervals, and a plot per swept parameter."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from reasonir.eval.digest import QUERIES, Digests, digest_of, whole
from reasonir.eval.results import HEADLINE, RESULTS, read_results
from reasonir.report.console import show
from reasonir.runs.outcome import FINISHED, JobRecord
from reasonir.sweep.jobs import SweepRecord, title
from reasonir.utils.files import atomic_path
from reasonir.utils.plotting import drawing, look
from reasonir.utils.table import RIGHT, TEXT, Table, write_csv

log = logging.getLogger(__name__)
SEED = "seed"
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Job:
    """Row of the summary.

    Attributes:
        name: of the job's folder.
        choices: its swept parameters.
        record: its status and result.
        value: the headline metric averaged over the benchmark's tasks; nan without.
        content: digest of what it was evaluated on, a space, and the digest of its queries; empty without.
    """

    name: str
    choices: Mapping[str, str]
    record: JobRecord
    value: float
    content: str = ""

    @property
    def development(self) -> float:
        """The best development metric, nan without."""
        return nan if self.record.value is None else self.record.value


@dataclass(frozen=True, slots=True)
class SummaryGroup:
    """Finished jobs that differ in their seeds only, evaluated on the same content.

    Attributes:
        choices: their swept parameters, without the seed.
        values: the headline metric of each job.
    """

    choices: Mapping[str, str]
    values: Sequence[float]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return fmean(self.values)

    @property
    def margin(self) -> float:
        """Half the 95% confidence interval of the mean by Student's t over seeds; nan for a single seed."""
        if len(self.values) < 2:
            return nan
        from scipy.stats import t

        return float(t.ppf(0.975, len(self.values) - 1)) * stdev(self.values) / sqrt(len(self.values))


class Summary(NamedTuple):
    """Written files, table in Markdown, and headline metric."""

    files: list[Path]
    text: str
    metric: str


def summarise(sweep: SweepRecord, jobs: Mapping[Path, JobRecord], folder: Path) -> Summary:
    """Write summary.csv, summary.md and, if a parameter has several values, summary.png; print the table."""
    metric, rows = _read(sweep, jobs)
    by_seed = groups(rows)
    files = [folder / "summary.csv", folder / "summary.md"]
    header, *lines = _rows(rows, metric)
    write_csv(files[0], header, lines)
    text = _markdown(by_seed, rows, metric)
    with atomic_path(files[1]) as partial:
        partial.write_text(text)
    if by_seed and any(len({group.choices.get(key) for group in by_seed}) > 1 for key in _keys(by_seed)):
        files.append(_plot(by_seed, metric, folder / "summary.png"))
    show(_table(rows, metric))
    return Summary(files, text, metric)


def groups(jobs: Sequence[Job]) -> list[SummaryGroup]:
    """Group the finished jobs that differ in their seeds only, in the order of their first job."""
    values: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
    for job in jobs:
        if job.record.status == FINISHED and not isnan(job.value):
            shared = tuple((key, value) for key, value in job.choices.items() if key != SEED)
            values.setdefault((job.content, shared), []).append(job.value)
    return [SummaryGroup(dict(shared), metrics) for (_, shared), metrics in values.items()]


def other_content(jobs: Sequence[Job]) -> str:
    """Return a note on jobs that were evaluated on different content, queries aside; empty if there are none."""
    names: dict[str, list[str]] = {}
    for job in jobs:
        if job.content:
            names.setdefault(job.content.partition(" ")[0], []).append(job.name)
    if len(names) < 2:
        return ""
    jobs_by_content = "; ".join(", ".join(each) for each in names.values())
    return (
        f"Evaluated on other documents, judgements, exclusions or candidates, so not comparable: jobs {jobs_by_content}"
    )


def _read(sweep: SweepRecord, jobs: Mapping[Path, JobRecord]) -> tuple[str, list[Job]]:
    """Headline metric, and a row per job."""
    metric, rows = HEADLINE, []
    for folder, record in jobs.items():
        value, content = nan, ""
        if record.status == FINISHED and (folder / RESULTS).is_file():
            document = read_results(folder)
            protocol = document["protocol"]
            metric = protocol.get("headline", HEADLINE)
            if digests := protocol.get("digests"):
                value = fmean(document["results"][task]["trained"][metric] for task in protocol["tasks"])
                content = _content(digests)
            else:
                log.warning("%s was evaluated without digests of its content: evaluate it again", folder)
        rows.append(Job(folder.name, sweep.choices(record.overrides), record, value, content))
    return metric, rows


def _content(digests: Mapping[str, Digests]) -> str:
    queries = digest_of((task, parts[QUERIES]) for task, parts in digests.items())
    other = ({part: digest for part, digest in parts.items() if part != QUERIES} for parts in digests.values())
    return f"{digest_of(zip(digests, map(whole, other), strict=True))} {queries}"


def _keys(items: Sequence[Job] | Sequence[SummaryGroup]) -> list[str]:
    return list(dict.fromkeys(key for item in items for key in item.choices))


def _rows(jobs: Sequence[Job], metric: str) -> list[list[Any]]:
    keys = _keys(jobs)
    head = ["job", *keys, "status", f"test {metric}", "dev ndcg_at_10", "seconds", "run", "error"]
    return [head] + [
        [
            job.name,
            *(job.choices.get(key, "") for key in keys),
            job.record.status,
            _number(job.value),
            _number(job.development),
            f"{job.record.seconds:.0f}",
            job.record.run_id or "",
            _one_line(job.record.error),
        ]
        for job in jobs
    ]


def _number(value: float) -> str:
    return "" if isnan(value) else f"{value:.4f}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def _markdown(by_seed: Sequence[SummaryGroup], jobs: Sequence[Job], metric: str) -> str:
    keys = _keys(by_seed)
    columns = dict.fromkeys(keys, TEXT) | {f"test {metric}": "{:.4f}", "95% CI over seeds": RIGHT, "seeds": "{:d}"}
    rows = []
    for group in sorted(by_seed, key=lambda group: -group.mean):
        span = "" if isnan(group.margin) else f"{group.mean - group.margin:.4f} to {group.mean + group.margin:.4f}"
        rows.append([*(group.choices.get(key) for key in keys), group.mean, span, len(group.values)])
    unfinished = [job for job in jobs if job.record.status != FINISHED]
    lines = [f"- job {job.name} ({title(job.choices)}): {job.record.error}" for job in unfinished]
    notes = [f"- {note}" for note in [other_content(jobs)] if note]
    return "\n".join([Table("Sweep", columns, rows).markdown(), "", *notes, *lines]).strip() + "\n"


def _table(jobs: Sequence[Job], metric: str) -> Table:
    head, *rows = _rows(jobs, metric)
    shown = [number for number, name in enumerate(head) if name != "run" and any(row[number] != "" for row in rows)]
    columns = {head[number]: TEXT if head[number] in ("status", "error") else RIGHT for number in shown}
    return Table("Sweep", columns, [[row[number] for number in shown] for row in rows], note=other_content(jobs))


def _plot(by_seed: Sequence[SummaryGroup], metric: str, file: Path) -> Path:
    """Draw one panel per swept parameter: means and intervals over seeds, one line per combination of the others."""
    keys = [key for key in _keys(by_seed) if len({group.choices.get(key) for group in by_seed}) > 1]
    with drawing(file, 4.5 * len(keys), panels=len(keys)) as (figure, panels):
        for key, axes in zip(keys, panels, strict=True):
            _panel(axes, key, keys, by_seed)
            axes.set(xlabel=key, ylabel=f"test {metric}")
        figure.suptitle("Means with their 95% CI over seeds")
    return file


def _panel(axes: Any, key: str, keys: Sequence[str], by_seed: Sequence[SummaryGroup]) -> None:
    lines: dict[str, list[SummaryGroup]] = {}
    for group in by_seed:
        others = {other: value for other, value in group.choices.items() if other != key and other in keys}
        lines.setdefault(title(others), []).append(group)
    values = list(dict.fromkeys(group.choices.get(key, "") for group in by_seed))
    positions = _positions(values)
    for number, (name, line) in enumerate(lines.items()):
        line.sort(key=lambda group: positions[group.choices.get(key, "")])
        x = [positions[group.choices.get(key, "")] for group in line]
        margins = [0.0 if isnan(group.margin) else group.margin for group in line]
        axes.errorbar(x, [group.mean for group in line], yerr=margins, capsize=3, label=name or None, **look(number))
        for position, group in zip(x, line, strict=True):
            axes.plot([position] * len(group.values), group.values, ".", color=look(number)["color"], alpha=0.4)
    if _is_wide(positions):
        axes.set_xscale("log")
    axes.set_xticks([positions[value] for value in values], values)
    axes.minorticks_off()
    if len(lines) > 1:
        axes.legend(fontsize=8)


def _positions(values: Sequence[str]) -> dict[str, float]:
    """Positions of values on an axis: numbers at their value, anything else evenly spaced."""
    try:
        return {value: float(value) for value in values}
    except ValueError:
        return {value: float(number) for number, value in enumerate(values)}


def _is_wide(positions: Mapping[str, float]) -> bool:
    """Return True if the positions need a logarithmic axis."""
    low, high = min(positions.values()), max(positions.values())
    return low > 0 and high / low > 20 and len(positions) > 2
