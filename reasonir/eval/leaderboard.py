"""A benchmark's published figures, and where an evaluation's own stand among them.

Figures are times 100, as papers print them, sorted by the mean over the tasks that were judged. Where those aren't all
of the board, everybody's mean is over the same tasks, and rows that were published as a mean only are left out. A row
that came about under another protocol than the judged system's (other queries, reranking, other exclusions or
judgements) is shown, marked with what differs, and has no place. Data: bright.toml.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from reasonir.eval.results import HEADLINE, Results
from reasonir.eval.systems import CORRECTED
from reasonir.utils.files import atomic_path
from reasonir.utils.table import RIGHT, TEXT, Table

_JUDGING = ("protocol", "judgements")
"""The rules that are known of a run file too: everything else happened before the file was written."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a leaderboard.

    Attributes:
        model: its name.
        mean: over the tasks, times 100.
        values: by task, times 100; empty where only the mean was published.
        rules: how it came about; a rule that isn't known is absent.
        source: where the figure stands.
        size: parameters, where known.
        kind: published, or of this evaluation: the judged system or one beside it.
        span: ends of the mean's 95% CI over queries, where there is one.
        how: rules that are unusual, or other than the judged system's.
        place: among the rows that came about like the judged system; None for the others.
    """

    model: str
    mean: float
    values: Mapping[str, float]
    rules: Mapping[str, str]
    source: str = "this evaluation"
    size: str = ""
    kind: Literal["published", "judged", "beside"] = "published"
    span: tuple[float, float] | None = None
    how: tuple[str, ...] = ()
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Standings:
    """Rows, best first, over `tasks` of the board's `of`; `left_out` rows were published as a mean only."""

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
        title: the benchmark.
        metric: what the figures are.
        tasks: whose mean ranks.
        usual: the rules that a row follows unless it says otherwise.
        rows: the published figures.
    """

    title: str = ""
    metric: str = HEADLINE
    tasks: Sequence[str] = ()
    usual: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Row] = ()

    def standings(self, results: Results, judged: str) -> Standings | None:
        """The evaluation's systems among the published ones; None where no task of the board was judged."""
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
        rows = sorted([*self._own(results, judged, tasks, rules), *published], key=attrgetter("mean"), reverse=True)
        return Standings(
            self.title,
            self.metric,
            tasks,
            len(self.tasks),
            list(_placed(rows, self.usual, rules)),
            len(self.rows) - len(published),
        )

    def _rules(self, results: Results, tasks: Sequence[str]) -> dict[str, str]:
        """What is known of how the evaluation's rankings came about."""
        stamped = [results.protocol["tasks"][task] for task in tasks]
        rules = {
            key: ", ".join(sorted({stamp.get(key, usual) for stamp in stamped})) for key, usual in self.usual.items()
        }
        if "trec" in results.protocol:  # a usual value wasn't stated by anybody
            rules = {key: value for key, value in rules.items() if key in _JUDGING or value != self.usual[key]}
        words = results.protocol.get("bm25")
        return rules | ({"bm25": "weighed query" if words["weigh_query"] else "bag of words"} if words else {})

    def _own(self, results: Results, judged: str, tasks: Sequence[str], rules: Mapping[str, str]) -> Iterator[Row]:
        """The evaluation's systems, and the judged one by the corrected judgements."""
        for system in results.values[tasks[0]]:
            if all(system in results.values[task] for task in tasks):
                row = self._measured(results, system, {task: task for task in tasks}, rules)
                yield replace(row, kind="judged" if system == judged else "beside")
        corrected = {task: f"{task}_{CORRECTED}" for task in tasks}
        if all(judged in results.values.get(name, {}) for name in corrected.values()):
            row = self._measured(results, judged, corrected, {**rules, "judgements": CORRECTED})
            yield replace(row, kind="beside")

    def _measured(self, results: Results, system: str, names: Mapping[str, str], rules: Mapping[str, str]) -> Row:
        """A system's row, each task's figures being those under its name in `names`."""
        means = {
            task: 100 * fmean(query[self.metric] for query in results.values[name][system].values())
            for task, name in names.items()
        }
        mean, low, high = results.interval_over(list(names.values()), system, self.metric)
        own = dict(rules) if system == "bm25" else {key: value for key, value in rules.items() if key != "bm25"}
        return Row(f"{system} (here)", 100 * mean, means, own, span=(100 * low, 100 * high))


def read_leaderboard(file: Path, board: str) -> Leaderboard:
    """One of the boards of a file of published figures."""
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    chosen, usual = data["boards"][board], data["usual"]
    rows = [
        _published(
            entry, {**usual, **{key: table[key] for key in usual if key in table}}, chosen["tasks"], data["sources"]
        )
        for table in data["tables"]
        if table["board"] == board
        for entry in table["rows"]
    ]
    return Leaderboard(chosen["title"], chosen["metric"], chosen["tasks"], usual, rows)


def _published(
    entry: Mapping[str, Any], rules: Mapping[str, str], tasks: Sequence[str], sources: Mapping[str, str]
) -> Row:
    stated = {"bm25": entry["bm25"]} if "bm25" in entry else {}
    values = dict(zip(tasks, map(float, entry["values"]), strict=True)) if "values" in entry else {}
    return Row(
        entry["model"], entry["mean"], values, {**rules, **stated}, sources[entry["source"]], entry.get("size", "")
    )


def _placed(rows: Sequence[Row], usual: Mapping[str, str], judged: Mapping[str, str]) -> Iterator[Row]:
    """The rows with how they came about, and places for those that did so by the rules `judged`."""
    place = 0
    for row in rows:
        other = {key for key, value in row.rules.items() if judged.get(key, value) != value}
        unusual = {key for key, value in row.rules.items() if usual.get(key) != value}
        how = tuple(f"{key}: {value}" for key, value in row.rules.items() if key in other | unusual)
        comparable = row.kind != "beside" and not other
        place += comparable
        yield replace(row, how=how, place=place if comparable else None)


def write_standings(standings: Standings, folder: Path) -> list[Path]:
    """Write leaderboard.csv and leaderboard.md, with every task's figure, and return the files."""
    header = ["place", "model", "size", "mean", "low", "high", *standings.tasks, "how", "source"]
    lines = [
        [
            "" if row.place is None else str(row.place),
            row.model,
            row.size,
            *(f"{value:.2f}" for value in (row.mean, *(row.span or ()))),
            *([] if row.span else ["", ""]),
            *(f"{row.values[task]:.2f}" if row.values else "" for task in standings.tasks),
            "; ".join(row.how),
            row.source,
        ]
        for row in standings.rows
    ]
    with atomic_path(folder / "leaderboard.csv") as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *lines])
    own = {number for number, row in enumerate(standings.rows) if row.kind == "judged"}
    left = ("model", "how", "source")
    table = Table(
        headline(standings), {name: TEXT if name in left else RIGHT for name in header}, lines, own, notes(standings)
    )
    with atomic_path(folder / "leaderboard.md") as partial:
        partial.write_text(f"# {table.title}\n\n{table.markdown()}\n\n{table.note}\n", encoding="utf-8")
    return [folder / "leaderboard.csv", folder / "leaderboard.md"]


def headline(standings: Standings) -> str:
    """What is ranked."""
    count = len(standings.tasks)
    over = f"all {count}" if count == standings.of else f"{count} of {standings.of}"
    named = "" if count == standings.of else f" ({', '.join(standings.tasks)})"
    return f"{standings.title}: mean {standings.metric} x 100 over {over} tasks{named}"


def notes(standings: Standings) -> str:
    """What a reader has to know."""
    found = ["Published figures are as their authors print them. Rows without a place came about otherwise than yours."]
    if not any("queries" in row.rules for row in standings.rows if row.kind == "judged"):
        found.append("A run file doesn't say how its queries were made: compare it with those that were made alike.")
    if standings.left_out:
        found.append(f"{standings.left_out} rows that were published as a mean over all tasks only are left out.")
    return " ".join(found)
