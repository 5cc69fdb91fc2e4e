"""Expansion of a benchmark's queries by texts from a file: a model's reasoning, keywords, rewritten queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from reasonir.data.files.records import id_of, read, text_of
from reasonir.errors import InputError
from reasonir.types import Task
from reasonir.utils.ranges import Positive, Validated

Way = Literal["replace", "append", "repeat"]


def expanded(query: str, expansion: str, way: Way, times: int = 1) -> str:
    """Return a query with its expansion, between blank lines.

    >>> expanded("why", "because", "repeat", 2).split()
    ['why', 'why', 'because']
    """
    if way == "replace":
        return expansion
    return "\n\n".join([*[query] * (times if way == "repeat" else 1), expansion])


def read_expansions(file: Path, task: str, key: str = "task") -> Mapping[str, str]:
    """Return the expansions of a task's queries by id; rows of other tasks, which `key` names, are skipped.

    Raises:
        InputError: a malformed row, or a query with two texts.
    """
    texts: dict[str, str] = {}
    for row in read(file):
        if row.values.get(key) not in (None, "", task):
            continue
        query_id, text = id_of(row, ("id", "_id", "query_id")), text_of(row, "query")
        if texts.setdefault(query_id, text) != text:
            raise InputError(f"{row.location}: query {query_id!r} has a second text: ids must be unique in a {key}")
    return texts


@dataclass(frozen=True, slots=True)
class Expansion(Validated):
    """Texts that queries are evaluated with.

    Attributes:
        file: rows of id, query and, if the benchmark has several tasks with equal ids, task; None for the queries as
            they are.
        way: the texts replace the queries, are appended to them, or to queries that are repeated.
        times: number of times that `repeat` states the query, which keeps its words' weight in BM25 beside a long text
            (Query2doc, arXiv:2303.07678, takes five).
    """

    file: str | None = None
    way: Way = "append"
    times: Positive = 5

    def apply(self, tasks: Iterable[Task]) -> list[Task]:
        """Return the tasks with expanded queries, which their protocol states.

        Raises:
            InputError: the file can't be read, or lacks a query.
        """
        if self.file is None:
            return list(tasks)
        file = Path(self.file).expanduser()
        if not file.is_file():
            raise InputError(f"evaluation.expansion.file={self.file} doesn't exist: check the path")
        return [self._expanded(task, read_expansions(file, task.name)) for task in tasks]

    def _expanded(self, task: Task, texts: Mapping[str, str]) -> Task:
        if missing := [query_id for query_id in task.queries if query_id not in texts]:
            raise InputError(
                f"evaluation.expansion.file={self.file}: {len(missing)} of {len(task.queries)} queries of task "
                f"{task.name} have no row, {missing[0]!r} for one: add them"
            )
        queries = {
            query_id: replace(query, text=expanded(query.text, texts[query_id], self.way, self.times))
            for query_id, query in task.queries.items()
        }
        way = f"{self.way} {self.times}" if self.way == "repeat" else self.way
        stamped = {**task.protocol, "queries": f"{Path(str(self.file)).name} ({way})"}
        return replace(task, queries=queries, protocol=stamped)
