"""Benchmark of retrieve-rerank-prune pipelines: effect and cost of each stage by the number of reranked candidates.

The evaluated model fills the stage of its head, other models the remaining ones (`reasonir.inference.pipeline`); every
retrieving system is a first stage: BM25, the untrained model, the trained one. Metrics of each stage:

- nDCG@10 of the ranking: reranked candidates followed by the rest (more candidates may hurt: Jacob et al. 2024,
  arXiv:2411.11767);
- of the context, the top documents passed to a reader: its tokens, and `answered`, the share of questions for which at
  least one known answering sentence is entirely in it;
- `kept`, the share of the answering sentences in the context that survive pruning;
- milliseconds per question with an index of the documents, one question at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

from annotated_types import MinLen

from reasonir.data.files.context_rows import files_of, read_examples
from reasonir.data.splits.stratified import normalise
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark, EvaluatedSystem
from reasonir.eval.digest import digest_of
from reasonir.eval.leaderboard import Leaderboard
from reasonir.eval.results import HEADLINE, ExtraMetrics
from reasonir.eval.stats.ranking_metrics import per_query
from reasonir.eval.stats.significance import difference
from reasonir.eval.test_split import SourceTestSplit
from reasonir.eval.trec import ordered
from reasonir.eval.weight_choice import best_weight, development_for
from reasonir.index.fusion import fuse
from reasonir.inference.pipeline import Pipeline, Stages
from reasonir.types import Run, Task, Text
from reasonir.utils.files import sha256
from reasonir.utils.plotting import drawing, look
from reasonir.utils.progress import progress
from reasonir.utils.ranges import NonNegative, Positive, Rule, Validated
from reasonir.utils.table import TEXT, Table, read_csv, write_csv

log = logging.getLogger(__name__)

_USUAL_WEIGHT = 0.6
RETRIEVED, RERANKED, PRUNED = STAGES = ("retrieved", "reranked", "pruned")
_ROW = ("system", "stage", "candidates")
COLUMNS = (*_ROW, HEADLINE, "delta", "p", "tokens", "answered", "kept", "milliseconds")
_FORMATS = {"stage": TEXT, "candidates": "{:.0f}", "delta": "{:+.4f}", "tokens": "{:.0f}", "milliseconds": "{:.0f}"}
Order = dict[str, list[str]]
"""Document ids by query, best first."""
Row = dict[str, Any]


_RISING = Rule(lambda depths: list(depths) == sorted(set(depths)), "numbers of candidates, the smallest first")


@dataclass(frozen=True, slots=True)
class PipelineBenchmark(Benchmark, Validated):
    """Tasks of a collection, ranked as by its own benchmark, then reranked and pruned.

    Attributes:
        collection: benchmark with the tasks.
        stages: models other than the evaluated one.
        depths: numbers of reranked candidates, ascending.
        context: documents passed to a reader.
        evidence: rows of the context-relevance schema with the sentences that answer a question; None for none.
        evidence_split: split of a folder.
        timed: number of questions to time, which encodes the documents again; 0 for no timing.
    """

    collection: Benchmark
    stages: Stages
    depths: Annotated[Sequence[Positive], MinLen(1), _RISING] = (5, 10, 20, 50)
    context: Positive = 5
    evidence: str | None = None
    evidence_split: str = "test"
    timed: NonNegative = 10
    _read: dict[tuple[Any, ...], Any] = field(init=False, default_factory=dict, repr=False, compare=False)

    def problems(self) -> Iterable[str]:
        """A collection without documents of its own."""
        if isinstance(self.collection, SourceTestSplit):
            yield "collection=test_split: a pipeline needs a named collection: choose another"

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """See `Benchmark.groups`."""
        return self.collection.groups

    @property
    def headline(self) -> str:
        """See `Benchmark.headline`."""
        return self.collection.headline

    @property
    def leaderboards(self) -> Mapping[str, Leaderboard]:
        """See `Benchmark.leaderboards`."""
        return self.collection.leaderboards

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield the tasks of the collection.

        Raises:
            InputError: a task has candidates of its own, or the collection can't be read.
        """
        stamp = {
            **self.stages.stamp(),
            "depths": ", ".join(map(str, self.depths)),
            "context": str(self.context),
            "evidence": self._evidence_stamp(),
        }
        for task in self.collection.tasks(corpus=corpus):
            if task.candidates:
                raise InputError(
                    f"eval=pipeline searches whole collections, and task {task.name} has its own candidates: choose "
                    "another eval@eval.collection="
                )
            yield replace(task, protocol={**task.protocol, **stamp})

    def analyse(self, system: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """Return metrics of every stage of every task; empty for the random system and for pipelines of one stage."""
        if system.name == "random":
            return {}
        device = "cpu" if system.encoder is None else str(system.encoder.device)
        pipeline = self.stages.open(system.encoder, device=device)
        if pipeline.reranker is None and pipeline.pruner is None:
            return {}
        chosen = {}
        if self.stages.reranker_weight is None and pipeline.reranker is not None:
            chosen = {"reranker_weight": self._chosen_weight(system)}
            pipeline = replace(pipeline, reranker_weight=chosen["reranker_weight"])
        folder.mkdir(parents=True, exist_ok=True)
        metrics = {}
        for task in self.tasks():
            rows = self._rows(task, system, pipeline)
            _write(folder / f"pipeline_{task.name}", system.name, rows)
            log.info("%s", _stages_table(task.name, system.name, rows).text())
            metrics[task.name] = ExtraMetrics(chosen | _figures(rows))
        if not _is_first_stage(system):
            self._read.clear()  # another model may reuse the id of this one
        return metrics

    def _chosen_weight(self, system: EvaluatedSystem) -> float:
        """Return the weight of the reranker with the best nDCG@10 on the development queries.

        Raises:
            InputError: there are none.
        """
        task = development_for("eval.stages.reranker_weight", system.development)
        device = "cpu" if system.encoder is None else str(system.encoder.device)
        pipeline = self.stages.open(system.encoder, device=device)
        texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
        first_stage = _is_first_stage(system)
        if not first_stage:
            pipeline.retriever.add_documents(list(texts.values()), list(texts))
        outputs = _ModelOutputs(task, texts, pipeline, self._read)
        found = self._retrieve(task, system.rank(task) if first_stage else None, pipeline)
        retrieved = {name: dict(islice(ranking.items(), self.depths[-1])) for name, ranking in found.items()}
        queries = progress(retrieved.items(), "Reranking the development queries", total=len(retrieved))
        scores = {name: outputs.scores(name, list(ranking)) for name, ranking in queries}
        weight, quality = best_weight(lambda share: fuse(scores, retrieved, weight=share), task, usual=_USUAL_WEIGHT)
        alone = f"reranker alone {quality[1.0]:.4f}, retriever alone {quality[0.0]:.4f}"
        log.info("Development queries choose the reranker's weight %g: %.4f (%s)", weight, quality[weight], alone)
        return weight

    def _rows(self, task: Task, system: EvaluatedSystem, pipeline: Pipeline) -> list[Row]:
        """Return one row per stage and number of candidates."""
        texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
        first_stage = _is_first_stage(system)
        if self.timed or not first_stage:
            pipeline.retriever.add_documents(list(texts.values()), list(texts))
        retrieved = self._retrieve(task, system.runs[task.name] if first_stage else None, pipeline)
        first = {name: list(ranking) for name, ranking in retrieved.items()}
        context = _Context(texts, self._answers(task), _counter(pipeline), self.context)
        times = self._milliseconds(task, pipeline) if self.timed else {}
        outputs = _ModelOutputs(task, texts, pipeline, self._read)
        orders: dict[int, Order] = {0: first}
        if pipeline.reranker is not None:
            orders |= {depth: {} for depth in self.depths}
            for name, docs in progress(first.items(), "Reranking", total=len(first)):
                scores = outputs.scores(name, docs[: self.depths[-1]])
                for depth in self.depths:
                    both = ({doc: of[doc] for doc in docs[:depth]} for of in (retrieved[name], scores))
                    final = pipeline.interpolated(*both)
                    candidates = sorted(docs[:depth], key=lambda doc, final=final: -final[doc])  # type: ignore[misc]
                    orders[depth][name] = [*candidates, *docs[depth:]]
        before = _ndcg(task, first)
        rows: list[Row] = []
        for depth, order in orders.items():
            stage = RERANKED if depth else RETRIEVED
            values = _ndcg(task, order)
            row: Row = {"stage": stage, "candidates": depth, HEADLINE: fmean(values)}
            if depth:
                row |= difference(values, before)._asdict()
            time = times.get((depth or self.depths[0], "rerank" if depth else "retrieve"))
            rows.append({**row, **context.figures(order), "milliseconds": time})
        for depth, order in orders.items() if pipeline.pruner is not None else ():
            if depth or len(orders) == 1:
                queries = progress(order.items(), "Pruning", total=len(order))
                kept = {name: outputs.kept(name, docs[: self.context]) for name, docs in queries}
                time = times.get((depth or self.depths[0], "prune"))
                figures = context.figures(order, kept)
                rows.append({"stage": PRUNED, "candidates": depth, **figures, "milliseconds": time})
        return rows

    def _retrieve(self, task: Task, run: Run | None, pipeline: Pipeline) -> Run:
        """Return the first stage's ranking, as deep as any metric needs."""
        top_k = max(self.depths[-1], self.context, 10)
        if run is None:
            hidden = max(map(len, task.excluded.values()), default=0)
            hits = pipeline.retriever.search(list(task.queries.values()), top_k + hidden)
            run = {name: {hit.id: hit.score for hit in each} for name, each in zip(task.queries, hits, strict=True)}
        found = {
            name: [each for each in ordered(run[name]) if each[0] not in task.excluded.get(name, ())]
            for name in task.queries
        }
        return {name: dict(ranking[:top_k]) for name, ranking in found.items()}

    def _evidence_stamp(self) -> str:
        if self.evidence is None:
            return "none"
        files = files_of(self.evidence, self.evidence_split, None, None, "eval")
        return f"{self.evidence} ({digest_of((sha256(file),) for file in files)})"

    def _answers(self, task: Task) -> dict[str, frozenset[str]] | None:
        """Return the known answering sentences by question; None without evidence.

        Raises:
            InputError: the evidence answers none of the task's questions.
        """
        if self.evidence is None:
            return None
        names = {normalise(query.text): name for name, query in task.queries.items()}
        answers: dict[str, set[str]] = {}
        for row in read_examples(self.evidence, self.evidence_split, key="eval"):
            if name := names.get(normalise(row.query)):
                for document in row.documents:
                    for (start, end), label in zip(document.spans, document.span_labels, strict=True):
                        if label > 0:
                            answers.setdefault(name, set()).add(normalise(document.text[start:end]))
        if not answers:
            raise InputError(
                f"eval.evidence={self.evidence} answers none of the {len(names)} questions of task {task.name}: give "
                "rows with the same questions, or null"
            )
        return {name: frozenset(sentences) for name, sentences in answers.items()}

    def _milliseconds(self, task: Task, pipeline: Pipeline) -> dict[tuple[int, str], float]:
        """Return the median milliseconds by number of candidates and stage, one question at a time."""
        questions = [query.text for query in task.queries.values()]
        size = min(self.timed, len(questions))
        chosen = [questions[index * len(questions) // size] for index in range(size)]
        pipeline.search(chosen[0], self.context)  # warm up
        medians: dict[tuple[int, str], float] = {}
        for depth in self.depths:
            at_depth = replace(pipeline, candidates=depth)
            answers = [at_depth.search(query, self.context).seconds for query in chosen]
            medians |= {(depth, stage): 1000 * median(each[stage] for each in answers) for stage in answers[0]}
        return medians


def _is_first_stage(system: EvaluatedSystem) -> bool:
    """True for BM25 and retrievers."""
    return system.encoder is None or not system.encoder.head.reads_pairs


@dataclass(frozen=True, slots=True)
class _ModelOutputs:
    """Outputs of a pipeline's models for a task's documents, cached in `read`."""

    task: Task
    texts: Mapping[str, str]
    pipeline: Pipeline
    read: dict[tuple[Any, ...], Any]

    def scores(self, name: str, docs: Sequence[str]) -> dict[str, float]:
        """Return the reranker's scores of a query's documents."""
        reranker, pruner = self.pipeline.reranker, self.pipeline.pruner
        assert reranker is not None
        if pruner is not None and pruner is reranker:
            scores = [pruned.score for pruned in self._once(pruner, pruner.prune, name, docs)]
        else:
            scores = self._once(reranker, reranker.score, name, docs)
        return dict(zip(docs, scores, strict=True))

    def kept(self, name: str, docs: Sequence[str]) -> list[str]:
        """Return a query's documents after pruning."""
        pruner = self.pipeline.pruner
        assert pruner is not None
        return [pruned.text for pruned in self._once(pruner, pruner.prune, name, docs)]

    def _once(
        self, model: Any, call: Callable[[Text, list[str]], list[Any]], name: str, docs: Sequence[str]
    ) -> list[Any]:
        keys = [(id(model.encoder), call.__name__, self.task.name, name, doc) for doc in docs]
        missing = [key for key in keys if key not in self.read]
        outputs = call(self.task.queries[name], [self.texts[key[-1]] for key in missing])
        self.read.update(zip(missing, outputs, strict=True))
        return [self.read[key] for key in keys]


@dataclass(frozen=True, slots=True)
class _Context:
    """Metrics of the context passed to a reader.

    Attributes:
        texts: documents by id.
        answers: answering sentences by query; None without evidence.
        count: counts the tokens of a text; None without a tokenizer for it.
        size: documents per query.
    """

    texts: Mapping[str, str]
    answers: Mapping[str, frozenset[str]] | None
    count: Callable[[str], int] | None
    size: int

    def figures(self, order: Order, kept: Mapping[str, Sequence[str]] | None = None) -> Row:
        """Return metrics of the top documents of each query, or of their pruned texts `kept`."""
        whole = {name: [self.texts[doc] for doc in docs[: self.size]] for name, docs in order.items()}
        contexts = whole if kept is None else kept
        row: Row = {}
        if self.count is not None:
            row["tokens"] = fmean(sum(map(self.count, each)) for each in contexts.values())
        if self.answers is not None:
            before = {name: _contained(sentences, whole.get(name, ())) for name, sentences in self.answers.items()}
            after = {name: _contained(before[name], contexts.get(name, ())) for name in before}
            row["answered"] = fmean(bool(each) for each in after.values())
            if kept is not None:
                row["kept"] = sum(map(len, after.values())) / max(1, sum(map(len, before.values())))
        return row


def _contained(sentences: Iterable[str], texts: Sequence[str]) -> frozenset[str]:
    """Return the sentences that one of the texts contains entirely."""
    normalised = [normalise(text) for text in texts]
    return frozenset(sentence for sentence in sentences if any(sentence in text for text in normalised))


def _counter(pipeline: Pipeline) -> Callable[[str], int] | None:
    """Return the token counter of the pruner or else the reranker, for heads that read pairs of two texts."""
    for model in (pipeline.pruner, pipeline.reranker):
        if model is not None and hasattr(model.encoder.head.tokenizer, "offsets"):
            return lru_cache(maxsize=1 << 16)(partial(_count, model.encoder.head.tokenizer))
    return None


def _count(tokenizer: Any, text: str) -> int:
    return len(tokenizer.offsets(Text(text)))


def _ndcg(task: Task, order: Order) -> list[float]:
    """Return nDCG@10 per query."""
    run = {name: {doc: -float(rank) for rank, doc in enumerate(docs)} for name, docs in order.items()}
    values = per_query(run, task.qrels, relevant_from=task.relevant_from)
    return [values[name][HEADLINE] for name in order]


def _figures(rows: Sequence[Row]) -> dict[str, float]:
    """Return the rows' values by flat names: ndcg_at_10_reranked_50."""
    return {
        "_".join([figure, str(row["stage"]), *([str(row["candidates"])] if row["candidates"] else [])]): value
        for row in rows
        for figure, value in row.items()
        if figure not in _ROW and value is not None and (row["stage"], figure) != (RETRIEVED, HEADLINE)
    }


def _write(stem: Path, system: str, rows: Sequence[Row]) -> None:
    """Write the table of all systems so far and its plot."""
    table = stem.with_suffix(".csv")
    earlier: list[Row] = []
    if table.is_file():
        earlier = [{key: _cell(value) for key, value in row.items()} for row in read_csv(table)]
    every = [*(row for row in earlier if row["system"] != system), *({"system": system, **row} for row in rows)]
    write_csv(table, COLUMNS, ([row.get(name) for name in COLUMNS] for row in every))
    _draw(stem.with_suffix(".png"), every)


def _cell(value: str) -> float | str | None:
    """Parse a cell of the table."""
    try:
        return float(value) if value else None
    except ValueError:
        return value


def _stages_table(task: str, system: str, rows: Sequence[Row]) -> Table:
    columns = [column for column in COLUMNS if any(row.get(column) is not None for row in rows)]
    shown = [{**row, "candidates": row["candidates"] or None} for row in rows]
    return Table(
        f"The pipeline on {task}, first stage and evaluated model: {system}",
        {column: _FORMATS.get(column, "{:.4f}") for column in columns},
        [[row.get(column) for column in columns] for row in shown],
    )


def _draw(file: Path, rows: Sequence[Row]) -> None:
    """Plot nDCG@10 over the candidates, and answered questions over the tokens of the context."""
    with drawing(file, 10, panels=2) as (_, (ranking, reading)):
        for number, system in enumerate(dict.fromkeys(row["system"] for row in rows)):
            colour = look(number)["color"]
            of = {stage: [r for r in rows if (r["system"], r["stage"]) == (system, stage)] for stage in STAGES}
            ranking.axhline(of[RETRIEVED][0][HEADLINE], color=colour, linestyle="--", linewidth=0.8)
            reranked = [(r["candidates"], r[HEADLINE]) for r in of[RERANKED]]
            ranking.plot(*(zip(*reranked, strict=True) if reranked else ([], [])), **look(number), label=system)
            for stage, marker in zip(STAGES, "sox", strict=True):
                points = [
                    (r["tokens"], r["answered"]) for r in of[stage] if r.get("answered") is not None and r.get("tokens")
                ]
                if points:
                    reading.plot(*zip(*points, strict=True), marker, color=colour, label=f"{system}, {stage}")
        ranking.set(xlabel="candidates reranked (dashed: none)", ylabel="nDCG@10")
        reading.set(xlabel="tokens in the context", ylabel="questions with an answering sentence")
        for axes in (ranking, reading):
            if axes.has_data():
                axes.legend(fontsize="small")
