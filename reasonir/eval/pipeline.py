"""What reranking and pruning add to a first stage, or cost: over the number of candidates that are reranked.

The judged model takes the place that its head is made for, other models stand in the others
(`reasonir.inference.pipeline`), and every system that finds documents is a first stage: BM25, the untrained model, the
trained one. Of each stage are said

- nDCG@10 of the ranking: candidates in their new order, what wasn't reranked behind them (more candidates may hurt:
  Jacob et al. 2024, arXiv:2411.11767);
- of the context, the first documents that a reader is given: its tokens, and `answered`, the share of questions that
  have all or part of their answer in it, a sentence that is known to answer standing there whole;
- `kept`, the share of the answering sentences in the context that pruning leaves there;
- the milliseconds of each stage for one question at a time, the documents being indexed.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

from annotated_types import MinLen

from reasonir.data.files.context_rows import read_examples
from reasonir.data.splits.stratified import normalise
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark, EvaluatedSystem
from reasonir.eval.leaderboard import Leaderboard
from reasonir.eval.results import HEADLINE, ExtraMetrics
from reasonir.eval.stats.ranking_metrics import per_query
from reasonir.eval.stats.significance import difference
from reasonir.eval.test_split import SourceTestSplit
from reasonir.eval.trec import ordered
from reasonir.inference.pipeline import Pipeline, Stages
from reasonir.types import Run, Task, Text
from reasonir.utils.files import atomic_path
from reasonir.utils.plotting import drawing, look
from reasonir.utils.progress import progress
from reasonir.utils.ranges import NonNegative, Positive, Rule, Validated
from reasonir.utils.table import TEXT, Table

log = logging.getLogger(__name__)

FOUND, RERANKED, PRUNED = STAGES = ("found", "reranked", "pruned")
_ROW = ("system", "stage", "candidates")
COLUMNS = (*_ROW, HEADLINE, "delta", "p", "tokens", "answered", "kept", "milliseconds")
_FORMATS = {"stage": TEXT, "candidates": "{:.0f}", "delta": "{:+.4f}", "tokens": "{:.0f}", "milliseconds": "{:.0f}"}
Order = dict[str, list[str]]
"""Documents by query, best first."""
Row = dict[str, Any]


_RISING = Rule(lambda depths: list(depths) == sorted(set(depths)), "numbers of candidates, the smallest first")


@dataclass(frozen=True, slots=True)
class PipelineBenchmark(Benchmark, Validated):
    """The tasks of a collection, ranked as by its own benchmark, then reranked and pruned.

    Attributes:
        collection: what is searched and judged.
        stages: the models besides the judged one.
        depths: how many candidates are reranked.
        context: how many documents a reader is given.
        evidence: rows of the context-relevance schema that say which sentences answer a question; None for none.
        evidence_split: which part of a folder.
        timed: questions whose time is taken, the documents encoded anew for it; 0 takes none.
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
            yield "collection=test_split: a pipeline is evaluated on a collection that is named: choose another"

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """Those of the collection."""
        return self.collection.groups

    @property
    def headline(self) -> str:
        """That of the collection."""
        return self.collection.headline

    @property
    def leaderboard(self) -> Leaderboard:
        """That of the collection."""
        return self.collection.leaderboard

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Those of the collection.

        Raises:
            InputError: it isn't searched; or as the collection's.
        """
        stamp = {
            "reranker": str(self.stages.reranker),
            "pruner": f"{self.stages.pruner}, threshold {self.stages.threshold:g}",
            "depths": ", ".join(map(str, self.depths)),
            "context": str(self.context),
            "evidence": str(self.evidence),
        }
        for task in self.collection.tasks(corpus=corpus):
            if task.candidates:
                raise InputError(
                    f"eval=pipeline searches, and task {task.name} brings its own candidates: choose another "
                    "eval@eval.collection="
                )
            yield replace(task, protocol={**task.protocol, **stamp})

    def analyse(self, subject: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """Every stage of every task; nothing of chance, nor of BM25 where the judged model is no first stage."""
        if subject.name == "random":
            return {}
        device = "cpu" if subject.encoder is None else str(subject.encoder.device)
        pipeline = self.stages.open(subject.encoder, device=device)
        if pipeline.reranker is None and pipeline.pruner is None:
            return {}
        folder.mkdir(parents=True, exist_ok=True)
        found = {}
        for task in self.tasks():
            rows = self._rows(task, subject, pipeline)
            _write(folder / f"pipeline_{task.name}", subject.name, rows)
            log.info("%s", _stages_table(task.name, subject.name, rows).text())
            found[task.name] = ExtraMetrics(_figures(rows))
        if not _finds(subject):
            self._read.clear()  # what is judged goes, and another may come to stand at its address
        return found

    def _rows(self, task: Task, subject: EvaluatedSystem, pipeline: Pipeline) -> list[Row]:
        """A row a stage and number of candidates."""
        texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
        finds = _finds(subject)
        if self.timed or not finds:
            pipeline.retriever.add_documents(list(texts.values()), list(texts))
        first = self._first(task, subject.runs[task.name] if finds else None, pipeline)
        context = _Context(texts, self._answers(task), _counter(pipeline), self.context)
        times = self._milliseconds(task, pipeline) if self.timed else {}
        readings = _Readings(task, texts, pipeline, self._read)
        orders: dict[int, Order] = {0: first}
        if pipeline.reranker is not None:
            orders |= {depth: {} for depth in self.depths}
            for name, docs in progress(first.items(), "Reranking", total=len(first)):
                scores = readings.scores(name, docs[: self.depths[-1]])
                for depth in self.depths:
                    candidates = sorted(docs[:depth], key=lambda doc: -scores[doc])
                    orders[depth][name] = [*candidates, *docs[depth:]]
        before = _ndcg(task, first)
        rows: list[Row] = []
        for depth, order in orders.items():
            stage = RERANKED if depth else FOUND
            values = _ndcg(task, order)
            row: Row = {"stage": stage, "candidates": depth, HEADLINE: fmean(values)}
            if depth:
                row |= difference(values, before)._asdict()
            time = times.get((depth or self.depths[0], "rerank" if depth else "retrieve"))
            rows.append({**row, **context.figures(order), "milliseconds": time})
        for depth, order in orders.items() if pipeline.pruner is not None else ():
            if depth or len(orders) == 1:
                looked = progress(order.items(), "Pruning", total=len(order))
                kept = {name: readings.kept(name, docs[: self.context]) for name, docs in looked}
                time = times.get((depth or self.depths[0], "prune"))
                figures = context.figures(order, kept)
                rows.append({"stage": PRUNED, "candidates": depth, **figures, "milliseconds": time})
        return rows

    def _first(self, task: Task, run: Run | None, pipeline: Pipeline) -> Order:
        """The first stage's ranking, as deep as anything looks."""
        deep = max(self.depths[-1], self.context, 10)
        if run is None:
            hidden = max(map(len, task.excluded.values()), default=0)
            hits = pipeline.retriever.search([query.text for query in task.queries.values()], deep + hidden)
            run = {name: {hit.id: hit.score for hit in each} for name, each in zip(task.queries, hits, strict=True)}
        return {
            name: [doc for doc, _ in ordered(run[name]) if doc not in task.excluded.get(name, ())][:deep]
            for name in task.queries
        }

    def _answers(self, task: Task) -> dict[str, frozenset[str]] | None:
        """The sentences that answer each question, as far as they are known.

        Raises:
            InputError: none of the task's questions is among those that are answered.
        """
        if self.evidence is None:
            return None
        asked = {normalise(query.text): name for name, query in task.queries.items()}
        found: dict[str, set[str]] = {}
        for row in read_examples(self.evidence, self.evidence_split, key="eval"):
            if name := asked.get(normalise(row.query)):
                for document in row.documents:
                    for (start, end), label in zip(document.spans, document.span_labels, strict=True):
                        if label > 0:
                            found.setdefault(name, set()).add(normalise(document.text[start:end]))
        if not found:
            raise InputError(
                f"eval.evidence={self.evidence} answers none of the {len(asked)} questions of task {task.name}: give "
                "rows with the same questions, or null"
            )
        return {name: frozenset(sentences) for name, sentences in found.items()}

    def _milliseconds(self, task: Task, pipeline: Pipeline) -> dict[tuple[int, str], float]:
        """The median milliseconds of each stage by the number of candidates, one question at a time."""
        asked = [query.text for query in task.queries.values()]
        size = min(self.timed, len(asked))
        chosen = [asked[place * len(asked) // size] for place in range(size)]
        pipeline.search(chosen[0], self.context)  # what only the first call does isn't timed
        found: dict[tuple[int, str], float] = {}
        for depth in self.depths:
            at_depth = replace(pipeline, candidates=depth)
            answers = [at_depth.search(query, self.context).seconds for query in chosen]
            found |= {(depth, stage): 1000 * median(each[stage] for each in answers) for stage in answers[0]}
        return found


def _finds(subject: EvaluatedSystem) -> bool:
    """Whether the system finds documents itself: words, or a retriever."""
    return subject.encoder is None or not subject.encoder.head.reads_pairs


@dataclass(frozen=True, slots=True)
class _Readings:
    """What the models of a pipeline make of a task's documents; what is in `read` isn't read again."""

    task: Task
    texts: Mapping[str, str]
    pipeline: Pipeline
    read: dict[tuple[Any, ...], Any]

    def scores(self, name: str, docs: Sequence[str]) -> dict[str, float]:
        """The reranker's scores of a query's documents."""
        reranker, pruner = self.pipeline.reranker, self.pipeline.pruner
        assert reranker is not None
        if pruner is not None and pruner is reranker:
            scores = [pruned.score for pruned in self._once(pruner, pruner.prune, name, docs)]
        else:
            scores = self._once(reranker, reranker.score, name, docs)
        return dict(zip(docs, scores, strict=True))

    def kept(self, name: str, docs: Sequence[str]) -> list[str]:
        """What the pruner leaves of them."""
        pruner = self.pipeline.pruner
        assert pruner is not None
        return [pruned.text for pruned in self._once(pruner, pruner.prune, name, docs)]

    def _once(
        self, model: Any, ask: Callable[[Text, list[str]], list[Any]], name: str, docs: Sequence[str]
    ) -> list[Any]:
        keys = [(id(model.encoder), ask.__name__, self.task.name, name, doc) for doc in docs]
        missing = [key for key in keys if key not in self.read]
        found = ask(self.task.queries[name], [self.texts[key[-1]] for key in missing])
        self.read.update(zip(missing, found, strict=True))
        return [self.read[key] for key in keys]


@dataclass(frozen=True, slots=True)
class _Context:
    """What a reader is given: its tokens, and whether it answers.

    Attributes:
        texts: documents by id.
        answers: sentences by query; None where nothing is known of them.
        count: the tokens of a text; None where no model cuts texts.
        size: documents a query.
    """

    texts: Mapping[str, str]
    answers: Mapping[str, frozenset[str]] | None
    count: Callable[[str], int] | None
    size: int

    def figures(self, order: Order, kept: Mapping[str, Sequence[str]] | None = None) -> Row:
        """Of the first documents of each query, or of what is `kept` of them."""
        whole = {name: [self.texts[doc] for doc in docs[: self.size]] for name, docs in order.items()}
        given = whole if kept is None else kept
        found: Row = {}
        if self.count is not None:
            found["tokens"] = fmean(sum(map(self.count, each)) for each in given.values())
        if self.answers is not None:
            before = {name: _standing(sentences, whole.get(name, ())) for name, sentences in self.answers.items()}
            after = {name: _standing(before[name], given.get(name, ())) for name in before}
            found["answered"] = fmean(bool(each) for each in after.values())
            if kept is not None:
                found["kept"] = sum(map(len, after.values())) / max(1, sum(map(len, before.values())))
        return found


def _standing(sentences: Iterable[str], texts: Sequence[str]) -> frozenset[str]:
    """The sentences that stand in one of the texts as a whole."""
    alike = [normalise(text) for text in texts]
    return frozenset(sentence for sentence in sentences if any(sentence in text for text in alike))


def _counter(pipeline: Pipeline) -> Callable[[str], int] | None:
    """The tokens of a text as the pruner counts them, or the reranker, as long as they read pairs of two texts."""
    for model in (pipeline.pruner, pipeline.reranker):
        if model is not None and hasattr(model.encoder.head.tokenizer, "offsets"):
            return lru_cache(maxsize=1 << 16)(partial(_count, model.encoder.head.tokenizer))
    return None


def _count(tokenizer: Any, text: str) -> int:
    return len(tokenizer.offsets(Text(text)))


def _ndcg(task: Task, order: Order) -> list[float]:
    """By query."""
    run = {name: {doc: -float(rank) for rank, doc in enumerate(docs)} for name, docs in order.items()}
    values = per_query(run, task.qrels, relevant_from=task.relevant_from)
    return [values[name][HEADLINE] for name in order]


def _figures(rows: Sequence[Row]) -> dict[str, float]:
    """The rows' figures under names of their own: ndcg_at_10_reranked_50."""
    return {
        "_".join([figure, str(row["stage"]), *([str(row["candidates"])] if row["candidates"] else [])]): value
        for row in rows
        for figure, value in row.items()
        if figure not in _ROW and value is not None and (row["stage"], figure) != (FOUND, HEADLINE)
    }


def _write(stem: Path, system: str, rows: Sequence[Row]) -> None:
    """The table of all systems so far, and its picture."""
    table = stem.with_suffix(".csv")
    earlier: list[Row] = []
    if table.is_file():
        with table.open(newline="") as stream:
            earlier = [{key: _cell(value) for key, value in row.items()} for row in csv.DictReader(stream)]
    every = [*(row for row in earlier if row["system"] != system), *({"system": system, **row} for row in rows)]
    with atomic_path(table) as unfinished, unfinished.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(every)
    _draw(stem.with_suffix(".png"), every)


def _cell(value: str) -> float | str | None:
    """A cell of the table."""
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
    """nDCG@10 over the candidates, and what a reader is given against what it costs."""
    with drawing(file, 10, panels=2) as (_, (ranking, reading)):
        for number, system in enumerate(dict.fromkeys(row["system"] for row in rows)):
            colour = look(number)["color"]
            of = {stage: [r for r in rows if (r["system"], r["stage"]) == (system, stage)] for stage in STAGES}
            ranking.axhline(of[FOUND][0][HEADLINE], color=colour, linestyle="--", linewidth=0.8)
            reranked = [(r["candidates"], r[HEADLINE]) for r in of[RERANKED]]
            ranking.plot(*(zip(*reranked, strict=True) if reranked else ([], [])), **look(number), label=system)
            for stage, marker in zip(STAGES, "sox", strict=True):
                points = [
                    (r["tokens"], r["answered"]) for r in of[stage] if r.get("answered") is not None and r.get("tokens")
                ]
                if points:
                    reading.plot(*zip(*points, strict=True), marker, color=colour, label=f"{system}, {stage}")
        ranking.set(xlabel="candidates reranked (dashed: none)", ylabel="nDCG@10")
        reading.set(xlabel="tokens that a reader is given", ylabel="questions with an answering sentence")
        for axes in (ranking, reading):
            if axes.has_data():
                axes.legend(fontsize="small")
