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
from reasonir.eval.base import Analysing, Benchmark, Subject
from reasonir.eval.reranking import choosing, reranking
from reasonir.eval.results import HEADLINE, Analysis, Results, read_analysis, read_values, run_file
from reasonir.eval.retrieval import System, evaluate, guessing, searching
from reasonir.eval.trec import read_run
from reasonir.index.base import Index
from reasonir.index.bm25 import Bm25
from reasonir.model.encoder import Encoder
from reasonir.types import Task

log = logging.getLogger(__name__)

BASELINES = ("random", "bm25", "untrained")
DEV_DEPTH, DEV_CANDIDATES = 100, 20
ANALYSIS = "analysis"
"""Where in a run's folder the files of its benchmark's own figures lie."""
Analyse = Callable[[Subject, Path], Mapping[str, Analysis]]


def _nothing(subject: Subject, folder: Path) -> Mapping[str, Analysis]:
    return {}


COLUMNS = (HEADLINE, "recall_at_10", "recall_at_100", "mrr", "map")


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What stands beside the model, and how deep rankings go.

    Attributes:
        baselines: of random, bm25 and untrained.
        depth: documents a query in a ranking.
        candidates: documents a query that a reranker orders, those of the bm25 baseline, where the task names none.
        bm25: the index of the bm25 baseline.
    """

    baselines: Sequence[str] = BASELINES
    depth: int = 1000
    candidates: int = 100
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
        if self.candidates < 1:
            found.append(f"evaluation.candidates={self.candidates}: give 1 or more")
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
        analyse: the benchmark's own figures about a system.
    """

    tasks: Sequence[Task]
    options: EvaluationOptions
    index: Callable[[Encoder], Index]
    folder: Path
    protocol: dict[str, Any]
    seed: int
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    analyse: Analyse = _nothing
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
            systems["untrained"] = self._model(encoder)
        evaluate(self.tasks, {name: systems[name] for name in wanted}, self.results)
        for name in wanted:
            self._analyse(name, systems[name], encoder if name == "untrained" else None)
        if wanted:
            self.results.write(self.folder, judged=wanted[-1])

    def judge(self, encoder: Encoder, name: str) -> None:
        """Judge the model and write everything."""
        system = self._model(encoder)
        evaluate(self.tasks, {name: system}, self.results)
        self._analyse(name, system, encoder)
        self.results.write(self.folder, judged=name)

    def dev(self, encoder: Encoder) -> System:
        """The system that ranks the development task during training: less deep, so that it is quick."""
        return self._system(encoder, depth=DEV_DEPTH, candidates=DEV_CANDIDATES)

    def _analyse(self, name: str, system: System, encoder: Encoder | None) -> None:
        runs = {task.name: self.results.runs[task.name][name] for task in self.tasks}
        for task, analysis in self.analyse(Subject(name, runs, system, encoder), self.folder / ANALYSIS).items():
            self.results.analyses.setdefault(task, {})[name] = analysis

    def _model(self, encoder: Encoder) -> System:
        return self._system(encoder, depth=self.options.depth, candidates=self.options.candidates)

    def _system(self, encoder: Encoder, *, depth: int, candidates: int) -> System:
        if encoder.head.kind == "retriever":
            return choosing(encoder, searching(self.index(encoder), depth=depth))
        return reranking(encoder, searching(self.options.bm25, depth=candidates))

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
            for task in self.tasks:
                self.results.add(task, system, read_run(run_file(self.folder, task.name, system)), {})
            for name in names:
                self.results.add_values(name, system, values[name][system])
                self.results.analyses.setdefault(name, {})[system] = read_analysis(saved, name, system)
        return True


def analysis_of(benchmark: Benchmark) -> Analyse:
    """The benchmark's own figures about a system; none where it has none."""
    return benchmark.analyse if isinstance(benchmark, Analysing) else _nothing


def table(results: Results, judged: str) -> Table:
    """Every system's figures, with its interval, and how it differs from the one that is judged."""
    found = Table(title="Evaluation", title_justify="left")
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
