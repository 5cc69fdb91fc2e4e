"""The evaluation of a run: the model beside its baselines, judged on every task of the benchmark."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.eval.results import HEADLINE, Results, read_values, run_file
from reasonir.eval.retrieval import System, evaluate, guessing, searching
from reasonir.eval.trec import read_run
from reasonir.index.base import Index
from reasonir.index.best import AT, RECALL
from reasonir.index.bm25 import Bm25
from reasonir.model.encoder import Encoder
from reasonir.types import Run, Task

log = logging.getLogger(__name__)

BASELINES = ("random", "bm25", "untrained")
COLUMNS = (HEADLINE, "recall_at_10", "recall_at_100", "mrr", "map")


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What stands beside the model, and how deep rankings go.

    Attributes:
        baselines: of random, bm25 and untrained.
        depth: documents a query in a ranking.
        bm25: the index of the bm25 baseline.
    """

    baselines: Sequence[str] = BASELINES
    depth: int = 1000
    bm25: Index = field(default_factory=Bm25)

    def problems(self) -> list[str]:
        """What is out of range."""
        found = [
            f"evaluation.baselines names {name}: choose from {', '.join(BASELINES)}"
            for name in self.baselines
            if name not in BASELINES
        ]
        if self.depth < 10:
            found.append(f"evaluation.depth={self.depth}: give 10 or more, the figures look at ten documents")
        return found


@dataclass(slots=True)
class Evaluation:
    """Judges systems on the tasks of a benchmark and keeps what it found in a folder.

    Attributes:
        tasks: what is judged, read once.
        options: baselines and depth.
        index: searches with an encoder.
        folder: results.json, per_query.parquet and runs/ go here.
        protocol: the rules, stamped on the results.
        seed: of the random baseline.
        groups: means over tasks that are reported.
    """

    tasks: Sequence[Task]
    options: EvaluationOptions
    index: Callable[[Encoder], Index]
    folder: Path
    protocol: dict[str, Any]
    seed: int
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    results: Results = field(init=False)

    def __post_init__(self) -> None:
        self.results = Results({**self.protocol, "scorer": "pytrec_eval", "depth": self.options.depth}, self.groups)

    def baselines(self, encoder: Encoder | None) -> None:
        """Judge the baselines, `encoder` being the untrained model, unless the folder has their results already."""
        wanted = [name for name in self.options.baselines if name != "untrained" or encoder is not None]
        if self._reuse(wanted):
            log.info("The baselines are those of %s", self.folder / "results.json")
            return
        systems: dict[str, System] = {
            "random": guessing(depth=self.options.depth, seed=self.seed),
            "bm25": searching(self.options.bm25, depth=self.options.depth),
        }
        if encoder is not None:
            systems["untrained"] = self._model(encoder, "untrained")
        evaluate(self.tasks, {name: systems[name] for name in wanted}, self.results)
        if wanted:
            self.results.write(self.folder, judged=wanted[-1])

    def judge(self, encoder: Encoder, name: str) -> None:
        """Judge the model and write everything."""
        evaluate(self.tasks, {name: self._model(encoder, name)}, self.results)
        self.results.write(self.folder, judged=name)

    def _model(self, encoder: Encoder, name: str) -> System:
        """The system that searches with the model, and notes what its index measured of itself."""
        index = self.index(encoder)
        rank = searching(index, depth=self.options.depth)

        def measured(task: Task) -> Run:
            run = rank(task)
            if index.measured:
                for together in (other for other in self.tasks if other.corpus is task.corpus):
                    self.results.measured.setdefault(together.name, {})[name] = index.measured
            return run

        return measured

    def _reuse(self, wanted: Iterable[str]) -> bool:
        """Take over the baselines' values when they were found under the same protocol."""
        try:
            saved = json.loads((self.folder / "results.json").read_text())
        except FileNotFoundError:
            return False
        mine = {**self.results.protocol, "tasks": {task.name: dict(task.protocol) for task in self.tasks}}
        values = read_values(self.folder)
        names = [
            name for task in self.tasks for name in (task.name, *(f"{task.name}_{label}" for label in task.judgements))
        ]
        if saved["protocol"] != mine or any(not set(wanted) <= set(values.get(name, {})) for name in names):
            return False
        for system in wanted:
            for task, measured in saved["measured"].items():
                if system in measured:
                    self.results.measured.setdefault(task, {})[system] = measured[system]
            for task in self.tasks:
                self.results.add(task, system, read_run(run_file(self.folder, task.name, system)), {})
            for name in names:
                self.results.add_values(name, system, values[name][system])
        return True


def table(results: Results, judged: str) -> Table:
    """Every system's figures, with its interval, and how it differs from the one that is judged."""
    found = Table(title="Evaluation", title_justify="left", caption=_measured(results, judged), caption_justify="left")
    for column in ("task", "system", *COLUMNS, "95 % interval", "ahead by", "p"):
        found.add_column(column, justify="left" if column in ("task", "system") else "right", no_wrap=True)
    figures = results.figures()
    for task, systems in figures.items():
        for system, values in systems.items():
            cells = [f"{values[column]:.4f}" for column in COLUMNS]
            single = task in results.values  # a group's mean has no queries of its own
            span = results.interval(task, system) if single else None
            cells.append(f"{span.low:.3f} to {span.high:.3f}" if span else "")
            gap = results.difference(task, judged, system) if single and system != judged else None
            cells += [f"{gap.delta:+.4f}", f"{gap.p:.4f}"] if gap else ["", ""]
            found.add_row(task, system, *cells, style="bold" if system == judged else None)
        found.add_section()
    return found


def _measured(results: Results, judged: str) -> str | None:
    """What the judged system's index measured, where it approximates."""
    lines = [
        f"{task}: of the exact first {AT}, index={results.protocol['index']['name']} finds {found[RECALL]:.1%} "
        f"({found['vectors']:,} of {found['encoded_vectors']:,} vectors)"
        for task, systems in results.measured.items()
        if (found := systems.get(judged))
    ]
    return "\n".join(lines) or None


def read_benchmark(benchmark: Benchmark) -> list[Task]:
    """The tasks of a benchmark, read now so that what is wrong with them is said before training.

    Raises:
        InputError: there are none, or what reading reports.
    """
    from reasonir.eval.retrieval import check_task

    found = list(benchmark.tasks())
    if not found:
        raise InputError("the benchmark has no tasks: choose another eval=")
    for task in found:
        check_task(task)
    return found
