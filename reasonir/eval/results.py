"""Results of an evaluation: metrics by task and system, per-query values, runs; written to a folder and read back.

`results.json` holds {"protocol": ..., "results": {task: {system: {metric: value}}}} with confidence intervals over
queries, paired tests and measurements of approximate indexes; `per_query.parquet` every value of every query;
`runs/<task>.<system>.trec` the rankings. `results.json` is written last, with the checksums of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from reasonir.errors import InputError
from reasonir.eval.stats import aspect_metrics, ranking_metrics
from reasonir.eval.stats.ranking_metrics import PerQuery, mean
from reasonir.eval.stats.significance import (
    Difference,
    Interval,
    difference,
    interval,
    stratified_difference,
    stratified_interval,
)
from reasonir.eval.trec import write_run
from reasonir.types import Run, Task
from reasonir.utils.files import atomic_path
from reasonir.utils.state import fault_of, read_json, sums_of, write_json

HEADLINE = "ndcg_at_10"
RESULTS, _PER_QUERY = "results.json", "per_query.parquet"
ANALYSIS = "analysis"
"""Subfolder of a run for the files of `Benchmark.analyse`."""
FILES = "files"
"""Entry of results.json with the checksums of the other files."""
PER_QUERY = (*ranking_metrics.NAMES, *aspect_metrics.NAMES)
"""Metrics that have a value for every query."""
_AGAIN = "evaluate it again"


@dataclass(frozen=True, slots=True)
class ExtraMetrics:
    """Further metrics of a system on a task (see `reasonir.eval.base.Benchmark.analyse`).

    Attributes:
        figures: values by metric; no ranking metric among them.
        intervals: confidence intervals of some of the metrics.
        differences: this system's metrics minus another's, by the other's name.
    """

    figures: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)


@dataclass(slots=True)
class Results:
    """Values by task, system and query.

    Attributes:
        protocol: conditions of the evaluation.
        groups: task names whose mean is reported, by the name of the mean.
        values: per-query values by task and system.
        runs: rankings by task and system.
        analyses: further metrics by task and system.
        measured: measurements of indexes by task and system; see `Index.measured`.
    """

    protocol: dict[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    values: dict[str, dict[str, PerQuery]] = field(default_factory=dict)
    runs: dict[str, dict[str, Run]] = field(default_factory=dict)
    analyses: dict[str, dict[str, ExtraMetrics]] = field(default_factory=dict)
    measured: dict[str, dict[str, Mapping[str, float]]] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """The main metric of the protocol."""
        return str(self.protocol.get("headline", HEADLINE))

    def add_values(self, task: str, system: str, values: PerQuery) -> None:
        """Record a system's per-query values under a task name."""
        self.values.setdefault(task, {})[system] = values

    def add(self, task: Task, system: str, run: Run, values: PerQuery) -> None:
        """Record a system's run of a task and its values."""
        self.add_values(task.name, system, values)
        self.runs.setdefault(task.name, {})[system] = run
        self.protocol.setdefault("tasks", {})[task.name] = dict(task.protocol)

    def analysis(self, task: str, system: str) -> ExtraMetrics:
        """Return the benchmark's further metrics of a system."""
        return self.analyses.get(task, {}).get(system, ExtraMetrics({}))

    def figures(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return task or group -> system -> metric -> mean over queries or over a group's tasks, or further metric."""
        means = {
            task: {
                system: {**mean(values), **self.analysis(task, system).figures} for system, values in systems.items()
            }
            for task, systems in self.values.items()
        }
        for group, tasks in self.groups.items():
            if not all(task in means for task in tasks):
                continue
            systems = [name for name in means[tasks[0]] if all(name in means[task] for task in tasks)]
            metrics = [
                name for name in PER_QUERY if all(name in means[task][system] for task in tasks for system in systems)
            ]
            means[group] = {
                name: {metric: fmean(means[task][name][metric] for task in tasks) for metric in metrics}
                for name in systems
            }
        return means

    def interval(self, task: str, system: str, metric: str | None = None) -> Interval:
        """Return a metric's mean with its confidence interval over queries; for a group, see `interval_over`.

        The metric is the main one by default.
        """
        if task not in self.values:
            return self.interval_over(self.groups[task], system, metric)
        return interval([row[metric or self.headline] for row in self.values[task][system].values()])

    def interval_over(self, tasks: Sequence[str], system: str, metric: str | None = None) -> Interval:
        """Return the unweighted mean over tasks with its confidence interval, queries resampled within each task."""
        metric = metric or self.headline
        return stratified_interval([[row[metric] for row in self.values[task][system].values()] for task in tasks])

    def difference(self, task: str, system: str, other: str, metric: str | None = None) -> Difference:
        """Return `system` minus `other` on a task or group, by default in the main metric, with a paired test."""
        if task not in self.values:
            return self.difference_over(self.groups[task], system, other, metric)
        return difference(*self._paired(task, system, other, metric))

    def difference_over(self, tasks: Sequence[str], system: str, other: str, metric: str | None = None) -> Difference:
        """Return the difference of the unweighted means over tasks, with a paired test."""
        pairs = [self._paired(task, system, other, metric) for task in tasks]
        return stratified_difference([[a - b for a, b in zip(*pair, strict=True)] for pair in pairs])

    def _paired(self, task: str, system: str, other: str, metric: str | None) -> tuple[list[float], list[float]]:
        """Return both systems' values of the same queries in the same order."""
        metric = metric or self.headline
        first, second = self.values[task][system], self.values[task][other]
        return [first[query][metric] for query in first], [second[query][metric] for query in first]

    def write(self, folder: Path, *, evaluated: str) -> None:
        """Write all files; differences are those of the system `evaluated` from each other one."""
        folder.mkdir(parents=True, exist_ok=True)
        for task, runs in self.runs.items():
            for system, run in runs.items():
                write_run(run, run_file(folder, task, system), system)
        self._write_per_query(folder / _PER_QUERY)
        figures = self.figures()
        document = {"protocol": self.protocol, "results": figures, "measured": self.measured}
        document |= self._statistics(figures, evaluated)
        written = [run_file(folder, task, name) for task, runs in self.runs.items() for name in runs]
        written += [folder / _PER_QUERY, *(file for file in (folder / ANALYSIS).rglob("*") if file.is_file())]
        write_json(folder / RESULTS, {**document, FILES: sums_of(written, folder)})

    def _statistics(self, figures: Mapping[str, Mapping[str, Any]], evaluated: str) -> dict[str, Any]:
        return {
            "intervals": {
                task: {
                    system: _plain(
                        {self.headline: self.interval(task, system), **self.analysis(task, system).intervals}
                    )
                    for system in systems
                }
                for task, systems in figures.items()
            },
            "differences": {
                task: {
                    other: _plain(
                        {
                            self.headline: self.difference(task, evaluated, other),
                            **self.analysis(task, evaluated).differences.get(other, {}),
                        }
                    )
                    for other in systems
                    if other != evaluated and evaluated in systems
                }
                for task, systems in figures.items()
            },
        }

    def _write_per_query(self, file: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [
            {"task": task, "system": system, "query_id": query_id, **values}
            for task, systems in self.values.items()
            for system, queries in systems.items()
            for query_id, values in queries.items()
        ]
        names = list(dict.fromkeys(name for row in rows for name in row))  # tasks may have metrics of their own
        with atomic_path(file) as partial:
            pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), partial)


def _plain(values: Mapping[str, Interval | Difference]) -> dict[str, dict[str, float]]:
    return {name: value._asdict() for name, value in values.items()}


def read_analysis(document: Mapping[str, Any], task: str, system: str) -> ExtraMetrics:
    """Return the further metrics of a system from the content of results.json."""
    figures = {name: value for name, value in document["results"][task][system].items() if name not in PER_QUERY}
    spans = document["intervals"][task][system].items()
    return ExtraMetrics(figures, {name: Interval(**span) for name, span in spans if name in figures})


def run_file(folder: Path, task: str, system: str) -> Path:
    """Return the path of a system's ranking of a task in the folder of an evaluation."""
    return folder / "runs" / f"{task}.{system}.trec"


def read_results(folder: Path) -> dict[str, Any]:
    """Return the content of the results.json in a folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    file = folder / RESULTS
    if not file.is_file():
        raise InputError(f"{folder} holds no {RESULTS}: let the run finish, or evaluate it")
    return read_json(file, keys=("protocol",), remedy=_AGAIN)


def read_values(folder: Path) -> Mapping[str, Mapping[str, PerQuery]]:
    """Return the per-query values of an evaluation: task -> system -> query -> metric -> value; empty without any.

    Raises:
        InputError: they are damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / _PER_QUERY
    values: dict[str, dict[str, PerQuery]] = {}
    if file.is_file():
        sums = read_results(folder).get(FILES, {}) if (folder / RESULTS).is_file() else {}
        if fault := fault_of(folder, {name: sums[name] for name in sums if name == _PER_QUERY}):
            raise InputError(f"{fault}: {_AGAIN}")
        try:
            rows = pq.read_table(file).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{file} can't be read ({error}): {_AGAIN}") from error
        for row in rows:
            task, system, query_id = row.pop("task"), row.pop("system"), row.pop("query_id")
            values.setdefault(task, {}).setdefault(system, {})[query_id] = {
                name: value for name, value in row.items() if value is not None
            }
    return values
