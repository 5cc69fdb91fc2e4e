"""Leaderboard of a benchmark's published results, with those of an evaluation ranked among them.

Results are times 100, as papers print them, sorted by the mean over the evaluated tasks. If those aren't all tasks of
the board, every mean is over the same tasks, and rows published as a mean only are left out. A row under other
conditions than the evaluated system's (other queries, reranking, other exclusions or judgements) is shown with the
conditions that differ, without a rank. Data: bright.toml, boards.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from reasonir.eval.digest import Digests, count_of
from reasonir.eval.results import HEADLINE, Results
from reasonir.eval.systems import CORRECTED
from reasonir.utils.files import atomic_path
from reasonir.utils.table import RIGHT, TEXT, Table, write_csv

BOARDS = Path(__file__).with_name("boards.toml")
"""Published results of the benchmarks besides BRIGHT."""
CONTENT = "content"
"""Condition that documents and queries are those of the benchmark, by their numbers."""
_SCORING_RULES = ("protocol", "judgements", CONTENT)
"""Conditions that are known of a run file too: all others precede the file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a leaderboard.

    Attributes:
        model: name.
        mean: mean over the tasks, times 100.
        values: results by task, times 100; empty if only the mean was published.
        rules: conditions of the result; unknown ones are absent.
        source: publication.
        size: parameters, if known.
        kind: published; or of this evaluation: the evaluated system, or a row that is never ranked.
        span: bounds of the mean's 95% CI over queries; None if unknown.
        conditions: conditions that are unusual, or differ from the evaluated system's.
        rank: rank among the rows under the evaluated system's conditions; None for the others.
    """

    model: str
    mean: float
    values: Mapping[str, float]
    rules: Mapping[str, str]
    source: str = "this evaluation"
    size: str = ""
    kind: Literal["published", "evaluated", "unranked"] = "published"
    span: tuple[float, float] | None = None
    conditions: tuple[str, ...] = ()
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Standings:
    """Rows, best first, over `tasks`, out of `of` on the board; `left_out` rows were published as a mean only."""

    title: str
    metric: str
    tasks: Sequence[str]
    of: int
    rows: Sequence[Row]
    left_out: int


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Published rows of a benchmark; none by default.

    Attributes:
        title: name of the benchmark.
        metric: metric of the results.
        tasks: tasks whose mean rows are ranked by.
        usual: conditions of a row unless it gives others.
        rows: the published results.
        counts: number of documents and of queries of each task, where known.
    """

    title: str = ""
    metric: str = HEADLINE
    tasks: Sequence[str] = ()
    usual: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def renamed(self, prefix: str) -> Leaderboard:
        """Return the leaderboard with a prefix in front of its tasks' names."""
        return replace(
            self,
            tasks=[f"{prefix}{task}" for task in self.tasks],
            rows=[
                replace(row, values={f"{prefix}{task}": value for task, value in row.values.items()})
                for row in self.rows
            ],
            counts={f"{prefix}{task}": count for task, count in self.counts.items()},
        )

    def standings(self, results: Results, system: str) -> Standings | None:
        """Rank the evaluation's systems among the published ones; None if no task of the board was evaluated."""
        tasks = [task for task in self.tasks if task in results.values]
        if not tasks or not self.rows:
            return None
        complete = len(tasks) == len(self.tasks)
        published = [
            row if complete else replace(row, mean=fmean(row.values[task] for task in tasks))
            for row in self.rows
            if complete or row.values
        ]
        rules = self._rules(results, tasks)
        rows = sorted([*self._rows(results, system, tasks, rules), *published], key=attrgetter("mean"), reverse=True)
        return Standings(
            self.title,
            self.metric,
            tasks,
            len(self.tasks),
            list(_ranked(rows, self.usual, rules)),
            len(self.rows) - len(published),
        )

    def _rules(self, results: Results, tasks: Sequence[str]) -> dict[str, str]:
        """Return the known conditions of the evaluation."""
        stamped = [results.protocol["tasks"][task] for task in tasks]
        rules = {
            key: ", ".join(sorted({stamp.get(key, usual) for stamp in stamped})) for key, usual in self.usual.items()
        }
        if "trec" in results.protocol:  # a usual value is only a default
            rules = {key: value for key, value in rules.items() if key in _SCORING_RULES or value != self.usual[key]}
        if CONTENT in self.usual:
            other = [task for task in tasks if self._other_counts(task, results.protocol["digests"][task])]
            rules[CONTENT] = f"other counts ({', '.join(other)})" if other else self.usual[CONTENT]
        words = results.protocol.get("bm25")
        return rules | ({"bm25": "weighed query" if words["weigh_query"] else "bag of words"} if words else {})

    def _other_counts(self, task: str, digests: Digests) -> bool:
        """Return whether a task was evaluated on other numbers of documents or queries than the published ones."""
        return any(part in digests and count_of(digests[part]) != n for part, n in self.counts.get(task, {}).items())

    def _rows(self, results: Results, system: str, tasks: Sequence[str], rules: Mapping[str, str]) -> Iterator[Row]:
        """Yield rows of the evaluation's systems, and of `system` by the corrected judgements."""
        for name in results.values[tasks[0]]:
            if all(name in results.values[task] for task in tasks):
                row = self._measured(results, name, {task: task for task in tasks}, rules)
                yield replace(row, kind="evaluated" if name == system else "unranked")
        corrected = {task: f"{task}_{CORRECTED}" for task in tasks}
        if all(system in results.values.get(name, {}) for name in corrected.values()):
            row = self._measured(results, system, corrected, {**rules, "judgements": CORRECTED})
            yield replace(row, kind="unranked")

    def _measured(self, results: Results, system: str, names: Mapping[str, str], rules: Mapping[str, str]) -> Row:
        """Return a system's row; `names` maps each task to its name in the results."""
        means = {
            task: 100 * fmean(query[self.metric] for query in results.values[name][system].values())
            for task, name in names.items()
        }
        mean, low, high = results.interval_over(list(names.values()), system, self.metric)
        own = dict(rules) if system == "bm25" else {key: value for key, value in rules.items() if key != "bm25"}
        return Row(f"{system} (here)", 100 * mean, means, own, span=(100 * low, 100 * high))


def read_leaderboard(file: Path, board: str) -> Leaderboard:
    """Return one of the boards of a file of published results; an empty one if the file has none of that name."""
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    if board not in data["boards"]:
        return Leaderboard()
    chosen, usual = data["boards"][board], data["usual"]
    rows = [
        _published(
            entry, {**usual, **{key: table[key] for key in usual if key in table}}, chosen["tasks"], data["sources"]
        )
        for table in data["tables"]
        if table["board"] == board
        for entry in table["rows"]
    ]
    return Leaderboard(chosen["title"], chosen["metric"], chosen["tasks"], usual, rows, chosen.get("counts", {}))


def _published(
    entry: Mapping[str, Any], rules: Mapping[str, str], tasks: Sequence[str], sources: Mapping[str, str]
) -> Row:
    stated = {"bm25": entry["bm25"]} if "bm25" in entry else {}
    values = dict(zip(tasks, map(float, entry["values"]), strict=True)) if "values" in entry else {}
    return Row(
        entry["model"], entry["mean"], values, {**rules, **stated}, sources[entry["source"]], entry.get("size", "")
    )


def _ranked(rows: Sequence[Row], usual: Mapping[str, str], evaluated: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows with their conditions, and ranks for those under the conditions `evaluated`."""
    rank = 0
    for row in rows:
        other = {key for key, value in row.rules.items() if evaluated.get(key, value) != value}
        unusual = {key for key, value in row.rules.items() if usual.get(key) != value}
        conditions = tuple(f"{key}: {value}" for key, value in row.rules.items() if key in other | unusual)
        ranked = row.kind != "unranked" and not other
        rank += ranked
        yield replace(row, conditions=conditions, rank=rank if ranked else None)


def write_standings(standings: Standings, folder: Path, name: str = "leaderboard") -> list[Path]:
    """Write name.csv and name.md with every task's result, and return the files."""
    header = ["rank", "model", "size", "mean", "low", "high", *standings.tasks, "conditions", "source"]
    lines = [
        [
            "" if row.rank is None else str(row.rank),
            row.model,
            row.size,
            *(f"{value:.2f}" for value in (row.mean, *(row.span or ()))),
            *([] if row.span else ["", ""]),
            *(f"{row.values[task]:.2f}" if row.values else "" for task in standings.tasks),
            "; ".join(row.conditions),
            row.source,
        ]
        for row in standings.rows
    ]
    write_csv(folder / f"{name}.csv", header, lines)
    bold = {number for number, row in enumerate(standings.rows) if row.kind == "evaluated"}
    left = ("model", "conditions", "source")
    columns = {name: TEXT if name in left else RIGHT for name in header}
    table = Table(headline(standings), columns, lines, bold, notes(standings))
    with atomic_path(folder / f"{name}.md") as partial:
        partial.write_text(f"# {table.title}\n\n{table.markdown()}\n\n{table.note}\n", encoding="utf-8")
    return [folder / f"{name}.csv", folder / f"{name}.md"]


def headline(standings: Standings) -> str:
    """Return the title with metric and tasks."""
    count = len(standings.tasks)
    over = f"all {count}" if count == standings.of else f"{count} of {standings.of}"
    named = "" if count == standings.of else f" ({', '.join(standings.tasks)})"
    return f"{standings.title}: mean {standings.metric} x 100 over {over} tasks{named}"


def notes(standings: Standings) -> str:
    """Return the footnotes of the table."""
    sentences = ["Published results are as their authors print them. Rows without a rank are under other conditions."]
    if not any("queries" in row.rules for row in standings.rows if row.kind == "evaluated"):
        sentences.append("The queries of a run file are unknown: compare it with rows that use the same queries.")
    if standings.left_out:
        sentences.append(f"{standings.left_out} rows published as a mean over all tasks only are left out.")
    return " ".join(sentences)
