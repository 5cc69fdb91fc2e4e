"""Evaluation of a run: the model and its baselines on every task of the benchmark."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge

from reasonir.errors import InputError
from reasonir.eval.base import Benchmark, EvaluatedSystem
from reasonir.eval.digest import digests_of
from reasonir.eval.expansion import Expansion
from reasonir.eval.reranking import rerank_candidates, reranking
from reasonir.eval.results import (
    ANALYSIS,
    FILES,
    HEADLINE,
    RESULTS,
    ExtraMetrics,
    Results,
    read_analysis,
    read_results,
    read_values,
    run_file,
)
from reasonir.eval.stats.ranking_metrics import DEV_METRIC
from reasonir.eval.systems import System, check_task, evaluate_systems, random_system, search_system
from reasonir.eval.trec import read_run
from reasonir.eval.truncation import Truncation
from reasonir.eval.weight_choice import best_weight, development_for
from reasonir.index.base import Index
from reasonir.index.bm25 import Bm25
from reasonir.index.fusion import Fusion, fuse
from reasonir.model.caching_encoder import LOCAL, CachingEncoder, EncoderBackend
from reasonir.model.embedding_cache import Disk, DType, identity_of
from reasonir.model.encoder import Embedder, Encoder
from reasonir.types import Run, Task
from reasonir.utils.ranges import Positive, Validated
from reasonir.utils.state import fault_of

log = logging.getLogger(__name__)

Baseline = Literal["random", "bm25", "untrained"]
DEV_DEPTH, DEV_CANDIDATES = 100, 20
_USUAL_WEIGHT = 0.75


@dataclass(frozen=True, slots=True)
class EvaluationOptions(Validated):
    """Baselines, depth of rankings and embedding cache.

    Attributes:
        baselines: any of random, bm25 and untrained.
        top_k: documents per query in a ranking.
        rerank_depth: BM25 candidates per query for a reranker, unless the task has candidates.
        bm25: the index of the bm25 baseline.
        embedding_cache: dtype of embeddings cached on disk, so that a stopped evaluation resumes (float32: metrics
            bit for bit the same; float16: half the space); None for no cache.
        cache_folder: folder of the cache.
        expansion: texts that the benchmark's queries are evaluated with.
    """

    baselines: Sequence[Baseline] = ("random", "bm25", "untrained")
    top_k: Annotated[int, Ge(10)] = 1000
    rerank_depth: Positive = 100
    bm25: Bm25 = field(default_factory=Bm25)
    embedding_cache: DType | None = None
    cache_folder: str = "cache/embeddings"
    expansion: Expansion = field(default_factory=Expansion)

    def reader(self, encoder: Encoder, workers: EncoderBackend) -> CachingEncoder:
        """Return the encoder with its embedding cache, encoding through `workers`."""
        if self.embedding_cache is None:
            return CachingEncoder(encoder, backend=workers)
        folder = Path(self.cache_folder).expanduser() / f"{identity_of(encoder)}-{self.embedding_cache}"
        log.info("Caching embeddings in %s", folder)
        return CachingEncoder(
            encoder, Disk(folder, self.embedding_cache), getattr(torch, self.embedding_cache), backend=workers
        )


@dataclass(slots=True)
class Evaluation:
    """Evaluation of systems on the tasks of a benchmark, with results written to a folder.

    Attributes:
        tasks: the benchmark's tasks.
        options: baselines, depths and embedding cache.
        index: builds the index that searches with an encoder.
        folder: results.json, per_query.parquet and runs/ go here.
        protocol: conditions of the evaluation, recorded with the results.
        seed: of the random baseline.
        groups: task names whose mean is reported, by the name of the mean.
        headline: the main metric.
        analyse: further metrics of the benchmark, see `Benchmark.analyse`.
        development: queries that choose weights of fused scores; None without any.
        results: results so far.
    """

    tasks: Sequence[Task]
    options: EvaluationOptions
    index: Callable[[Embedder], Index]
    folder: Path
    protocol: dict[str, Any]
    seed: int
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headline: str = HEADLINE
    analyse: Callable[[EvaluatedSystem, Path], Mapping[str, ExtraMetrics]] = lambda system, folder: {}
    development: Task | None = None
    results: Results = field(init=False)

    def __post_init__(self) -> None:
        protocol = {
            **self.protocol,
            "scorer": "pytrec_eval",
            "depth": self.options.top_k,
            "headline": self.headline,
            "embeddings": self.options.embedding_cache or "float32",
        }
        if "bm25" in self.options.baselines:
            protocol["bm25"] = self.options.bm25.settings
        protocol["digests"] = digests_of(self.tasks)
        self.results = Results(protocol, self.groups)

    def baselines(self, encoder: Encoder | None, workers: EncoderBackend = LOCAL) -> None:
        """Evaluate the baselines, `encoder` being the untrained model, or reuse their results in the folder."""
        wanted = [name for name in self.options.baselines if name != "untrained" or encoder is not None]
        if encoder is not None and "untrained" in wanted:
            self.results.protocol["untrained"] = identity_of(encoder)
        if self._reuse(wanted):
            log.info("Reusing the baselines of %s", self.folder / RESULTS)
            return
        for results in (self.folder / ANALYSIS, self.folder / "runs"):  # of systems evaluated on something else
            shutil.rmtree(results, ignore_errors=True)
        systems: dict[str, System] = {
            "random": self._random(),
            "bm25": search_system(self.options.bm25, depth=self.options.top_k),
        }
        if encoder is not None:
            reader = self.options.reader(encoder, workers)
            index = None if encoder.head.reads_pairs else _alone(self.index(reader))
            systems["untrained"] = self._model(reader, index, "untrained")
        evaluate_systems(self.tasks, {name: systems[name] for name in wanted}, self.results)
        for name in wanted:
            self._analyse(name, systems[name], encoder if name == "untrained" else None)
        if wanted:
            self.results.write(self.folder, evaluated=wanted[-1])

    def evaluate(self, encoder: Encoder, name: str, workers: EncoderBackend = LOCAL) -> None:
        """Evaluate the model under the name `name`, record its truncation, and write all results."""
        reader = self.options.reader(encoder, workers)
        index = None if encoder.head.reads_pairs else self.index(reader)
        if isinstance(index, Fusion) and index.weight is None:
            self._choose_weight(index)
        rank = self._model(reader, index, name)
        if index is not None:
            self._warn_of_instructions(encoder)
        truncation = Truncation(reader)
        evaluate_systems(self.tasks, {name: truncation.counting(rank), **_parts(index, name)}, self.results)
        self.results.protocol["truncation"] = report = truncation.report(self.tasks)
        truncation.warn(report)
        self._analyse(name, rank, encoder)
        self.results.write(self.folder, evaluated=name)

    def dev(self, encoder: Encoder) -> System:
        """Return the system for development evaluations during training, with shallower rankings for speed."""
        if not encoder.head.reads_pairs:
            reader = CachingEncoder(encoder)
            return rerank_candidates(reader, search_system(_alone(self.index(reader)), depth=DEV_DEPTH))
        return reranking(encoder, search_system(self.options.bm25, depth=DEV_CANDIDATES))

    def _analyse(self, name: str, system: System, encoder: Encoder | None) -> None:
        runs = {task.name: self.results.runs[task.name][name] for task in self.tasks}
        for task, analysis in self.analyse(
            EvaluatedSystem(name, runs, system, encoder, self.development), self.folder / ANALYSIS
        ).items():
            self.results.analyses.setdefault(task, {})[name] = analysis

    def _random(self) -> System:
        """Return the system that orders a task's documents at random; for a reranker, those that it orders."""
        rank = random_system(depth=self.options.top_k, seed=self.seed)
        if "reranked" not in self.protocol:
            return rank
        first = search_system(self.options.bm25, depth=self.options.rerank_depth)
        return lambda task: rank(task if task.candidates else replace(task, candidates=_documents(first(task))))

    def _model(self, reader: CachingEncoder, index: Index | None, name: str) -> System:
        """Return the system that ranks with the model and records the measurements of its index; None reranks."""
        if index is None:
            return reranking(reader, search_system(self.options.bm25, depth=self.options.rerank_depth))
        if isinstance(index, Fusion) and (listed := next((task.name for task in self.tasks if task.candidates), None)):
            raise InputError(
                f"index=fusion searches whole corpora, and task {listed} lists candidates: choose index=exact"
            )
        rank = rerank_candidates(reader, search_system(index, depth=self.options.top_k))

        def rank_and_record(task: Task) -> Run:
            run = rank(task)
            if index.measured:
                for together in (other for other in self.tasks if other.corpus is task.corpus):
                    self.results.measured.setdefault(together.name, {})[name] = index.measured
            return run

        return rank_and_record

    def _choose_weight(self, fusion: Fusion) -> None:
        """Set the weight of the best nDCG@10 on the development queries, and record it."""
        task = development_for("index.weight", self.development)
        fusion.weight = _USUAL_WEIGHT
        search_system(fusion, depth=self.options.top_k)(task)
        fusion.weight, quality = best_weight(
            lambda weight: fuse(*fusion.parts, weight=weight, method=fusion.method), task, usual=_USUAL_WEIGHT
        )
        self.results.protocol["fusion"] = {
            "weight": fusion.weight,
            "development queries": len(task.queries),
            f"development {DEV_METRIC}": round(quality[fusion.weight], 4),
            "model alone": round(quality[1.0], 4),
            "partner alone": round(quality[0.0], 4),
        }
        log.info("Fusion's weight, chosen on development queries: %s", self.results.protocol["fusion"])

    def _warn_of_instructions(self, encoder: Encoder) -> None:
        prompts = encoder.head.tokenizer.prompts
        instructed = any(text.instruction for task in self.tasks for text in task.queries.values())
        if instructed and not prompts.takes_instructions:
            log.warning(
                "The queries' instructions are ignored: the query prompt (%r) has no {instruction}. Set model/prompts="
                "instruction, instruct, gritlm or qwen, or eval/instructions=none",
                prompts.query,
            )

    def _reuse(self, wanted: Iterable[str]) -> bool:
        """Load the baselines' results if the folder has them for the same content and protocol, else return False."""
        if not (self.folder / RESULTS).is_file():
            return False
        try:
            saved, values = read_results(self.folder), read_values(self.folder)
            if fault := fault_of(self.folder, saved.get(FILES, {})):
                raise InputError(fault)
        except InputError as error:
            log.warning("The baselines are evaluated again: %s", error)
            return False
        protocol = {**self.results.protocol, "tasks": {task.name: dict(task.protocol) for task in self.tasks}}
        for result in ("truncation", "fusion"):  # results, not conditions
            saved["protocol"].pop(result, None)
        names = list(protocol["digests"])
        if saved["protocol"] != protocol or any(not set(wanted) <= set(values.get(name, {})) for name in names):
            return False
        for system in wanted:
            for task, measured in saved["measured"].items():
                if system in measured:
                    self.results.measured.setdefault(task, {})[system] = measured[system]
            for task in self.tasks:
                self.results.add(task, system, read_run(run_file(self.folder, task.name, system)), {})
            for name in names:
                self.results.add_values(name, system, values[name][system])
                self.results.analyses.setdefault(name, {})[system] = read_analysis(saved, name, system)
        return True


def _alone(index: Index) -> Index:
    """Return the model's own index of a fusion."""
    return index.model_index if isinstance(index, Fusion) else index


def _parts(index: Index | None, name: str) -> dict[str, System]:
    """Return the systems that give the last rankings of a fusion's parts, which was just evaluated."""
    if not isinstance(index, Fusion):
        return {}
    return {f"{name}_alone": lambda _: index.parts[0], "partner_alone": lambda _: index.parts[1]}


def _documents(run: Run) -> dict[str, list[str]]:
    return {query: list(scores) for query, scores in run.items()}


def read_benchmark(benchmark: Benchmark, expansion: Expansion | None = None) -> list[Task]:
    """Read and check the tasks of a benchmark, so that errors are reported before training.

    Raises:
        InputError: there are none, one is invalid, two have one name, or a query's expansion is missing.
    """
    if expansion and expansion.file and type(benchmark).analyse is not Benchmark.analyse:
        raise InputError(
            f"evaluation.expansion.file={expansion.file}: {type(benchmark).__name__} evaluates more than rankings, "
            "with the queries as they are: choose another eval="
        )
    tasks = (expansion or Expansion()).apply(benchmark.tasks())
    if not tasks:
        raise InputError("the benchmark has no tasks: choose another eval=")
    seen: set[str] = set()
    for task in tasks:
        if task.name in seen:
            raise InputError(f"two tasks are named {task.name!r}: name one of them only, or rename its data")
        seen.add(task.name)
        check_task(task)
    return tasks
