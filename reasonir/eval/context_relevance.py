"""Benchmark of ranking and pruning on queries with passages whose sentences have relevance labels.

The rows' own texts are ranked, as in every evaluation. A pruner is evaluated further: it keeps a sentence (a span of
the data) if the mean probability of its tokens is above a threshold. Its baselines, at the same compression, are random
sentences and the best by BM25, and keeping everything or nothing. The "chosen" threshold is tuned on one half of the
queries and applied to the other, both ways. Metrics: `reasonir.eval.stats.pruning_metrics`.

Shape letters: S sentences.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from annotated_types import MinLen

from reasonir.data.base import HeldOut
from reasonir.data.files.context_rows import read_examples, task_of
from reasonir.errors import InputError
from reasonir.eval.base import Benchmark, EvaluatedSystem
from reasonir.eval.digest import digest_of
from reasonir.eval.results import HEADLINE, ExtraMetrics
from reasonir.eval.stats.pruning_metrics import Sentences, bm25_scores
from reasonir.eval.stats.ranking_metrics import per_query
from reasonir.model.span_scoring import score_spans
from reasonir.types import Example, Pair, Run, Task, Text
from reasonir.utils.files import atomic_path
from reasonir.utils.plotting import drawing, look
from reasonir.utils.ranges import Fraction, NonNegativeFloat, Positive, Validated
from reasonir.utils.table import RIGHT, TEXT, Table, write_csv

log = logging.getLogger(__name__)

SHARES = tuple(np.round(np.arange(0.05, 1.01, 0.05), 2).tolist())
_Figure = Literal["f2", "precision", "recall", "span_accuracy", "compression"]
_PRUNED: tuple[_Figure, ...] = ("f2", "precision", "recall", "span_accuracy", "compression")


@dataclass(frozen=True, slots=True)
class ContextRelevanceBenchmark(Benchmark, Validated):
    """One or more data sets in the context-relevance schema.

    Attributes:
        path: one or more data sets: file, folder or hub id, with ":" and a subset if it has subsets. None takes the
            rows held out of the run's own data.
        split: split of a folder.
        revision: branch, tag or commit of a hub id.
        rows: number of rows of each set, from its start; None for all.
        thresholds: probabilities above which a sentence is kept.
        reference: published metrics by task: f2, precision, recall, span_accuracy, compression (as shares).
        reference_threshold: threshold of the published metrics, one of `thresholds`.
        tolerance: absolute difference from the reference above which a warning is logged.
        held_out: rows held out of the run's own data, see `with_held_out`.
    """

    path: str | Annotated[Sequence[str], MinLen(1)] | None = None
    split: str = "test"
    revision: str | None = None
    rows: Positive | None = None
    thresholds: Annotated[Sequence[Fraction], MinLen(1)] = (0.05, 0.1, 0.3, 0.5)
    reference: Mapping[str, Mapping[_Figure, float]] = field(default_factory=dict)
    reference_threshold: Fraction = 0.1
    tolerance: NonNegativeFloat = 0.05
    held_out: HeldOut | None = None

    def problems(self) -> Iterable[str]:
        """Sets of one name, references to unknown sets, or at a threshold that isn't evaluated."""
        if self.path is not None and not isinstance(self.path, str) and len(self._sets()) < len(self.path):
            yield f"path={list(self.path)}: two sets have one name, as metrics name them: rename a file or folder"
        if self.reference and self.reference_threshold not in self.thresholds:
            yield f"reference_threshold={self.reference_threshold} isn't among thresholds: add it there"
        for name in self.reference:
            if name not in self._sets():
                yield f"reference.{name}: no such set is evaluated; there are {', '.join(self._sets())}"

    @property
    def needs_held_out(self) -> bool:
        """True if no set is named."""
        return self.path is None

    def with_held_out(self, data: HeldOut) -> Self:
        """See `Benchmark.with_held_out`."""
        return replace(self, held_out=data) if self.path is None else self

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield a task per set: to order each row's own texts.

        Raises:
            InputError: no set is named, and the run's data has no held-out rows.
        """
        for name, spec in self._sets().items():
            split = "held-out" if self.path is None else self.split
            rows = self._rows(name)
            labels = digest_of(
                (row.query_id, document.doc_id, repr((document.spans, document.span_labels)))
                for row in rows
                for document in row.documents
            )
            protocol = {"collection": spec, "split": split, "revision": self.revision or "newest", "sentences": labels}
            yield task_of(name, rows, protocol)

    def analyse(self, system: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """Return a pruner's pruning metrics; empty for other systems."""
        if system.encoder is None or system.encoder.head.kind != "pruner":
            return {}
        folder.mkdir(parents=True, exist_ok=True)
        return {name: self._evaluate_pruning(name, system, folder) for name in self._sets()}

    def _sets(self) -> dict[str, str]:
        """Return the sets by task name."""
        if self.path is None:
            return {self.held_out.data_name: self.held_out.data_name} if self.held_out else {}
        specs = [self.path] if isinstance(self.path, str) else self.path
        return {"-".join([Path(path).name.split(".")[0], *subset]): spec for spec, path, *subset in map(_split, specs)}

    def _rows(self, name: str) -> list[Example]:
        if self.held_out is not None:
            rows = list(islice(self.held_out.test_examples(), self.rows))
            if not rows:
                raise InputError(f"eval.path is null, and {name} has no held-out rows: set loader.test_size above 0")
            return rows
        _, path, *subset = _split(self._sets()[name])
        examples = read_examples(
            path, self.split, subset=subset[0] if subset else None, revision=self.revision, key="eval"
        )
        return list(islice(examples, self.rows))

    def _evaluate_pruning(self, name: str, system: EvaluatedSystem, folder: Path) -> ExtraMetrics:
        rows = self._rows(name)
        sentences = Sentences.of(rows)
        if not len(sentences.relevant_S):
            raise InputError(f"eval.path: {name} has no context_spans to evaluate pruning on: choose another set")
        pairs = [Pair(Text(row.query), Text(d.text), d.spans) for row in rows for d in row.documents]
        scored = score_spans(system.encoder, pairs)  # type: ignore[arg-type]
        keep_S = np.array([value for spans in scored for value in spans.keep])
        tokens_S = np.array([count for spans in scored for count in spans.tokens])
        _write_sentences(folder / f"{name}.{system.name}.parquet", rows, keep_S, tokens_S)
        bm25_S = bm25_scores(rows)
        table = self._table(sentences, keep_S, bm25_S)
        with atomic_path(folder / f"{name}.{system.name}.json") as partial:
            partial.write_text(json.dumps(table, indent=2))
        log.info("%s", _pruning_table(name, system.name, table).text())
        curves = {
            by: _curve(rows, sentences, scores_S, tokens_S, system.runs[name])
            for by, scores_S in _scores(name, bm25_S, folder).items()
        }
        _draw(folder / f"{name}.{system.name}", curves)
        if system.name == "trained":
            self._compare(name, table)
        return ExtraMetrics(
            {
                f"{figure}_at_{row}": value
                for row, systems in table.items()
                for figure, value in systems["model"].items()
            }
        )

    def _table(
        self, sentences: Sentences, keep_S: np.ndarray, bm25_S: np.ndarray
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Return threshold -> model, or baseline at the same compression -> metrics."""
        chance_S = np.random.default_rng(0).random(len(keep_S))
        kept = {f"{threshold:g}": keep_S > threshold for threshold in self.thresholds}
        kept["chosen"], chosen = sentences.by_chosen_threshold(keep_S)
        log.info("Thresholds tuned for F2, each on the other half of the queries: %g and %g", *chosen)
        table = {}
        for name, kept_S in kept.items():
            compression = sentences.compression(kept_S)
            table[name] = {
                "model": sentences.figures(kept_S),
                "bm25": sentences.figures(sentences.best(bm25_S, compression)),
                "random": sentences.figures(sentences.best(chance_S, compression)),
                "everything": sentences.figures(np.ones(len(keep_S), dtype=bool)),
                "nothing": sentences.figures(np.zeros(len(keep_S), dtype=bool)),
            }
        return table

    def _compare(self, name: str, table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
        """Log how far a trained model is from its reference."""
        reached = table[f"{self.reference_threshold:g}"]["model"] if name in self.reference else {}
        for figure, expected in self.reference.get(name, {}).items():
            summary = (
                f"{name}: {figure} {reached[figure]:.4f} at {self.reference_threshold:g}, reference {expected:.4f}"
            )
            if abs(reached[figure] - expected) > self.tolerance:
                log.warning("Far from the reference: %s; check data, precision and length of training", summary)
            else:
                log.info("Close to the reference: %s", summary)


def _split(spec: str) -> tuple[str, ...]:
    """Split "path" or "path:subset" into (spec, path) or (spec, path, subset)."""
    if ":" not in spec or Path(spec).expanduser().exists():
        return spec, spec
    return spec, *spec.rsplit(":", 1)


def _write_sentences(file: Path, rows: Sequence[Example], keep_S: np.ndarray, tokens_S: np.ndarray) -> None:
    """Write every sentence with its label, probability and token count."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table: dict[str, list[Any]] = {key: [] for key in ("query_id", "doc_id", "start", "end", "relevant")}
    for row in rows:
        for document in row.documents:
            for (start, end), label in zip(document.spans, document.span_labels, strict=True):
                for key, value in zip(table, (row.query_id, document.doc_id, start, end, label > 0), strict=True):
                    table[key].append(value)
    with atomic_path(file) as partial:
        pq.write_table(pa.table({**table, "probability": keep_S, "tokens": tokens_S}), partial)


def _pruning_table(name: str, system: str, table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    rows = [
        [threshold, which, *(figures[figure] for figure in _PRUNED)]
        for threshold, systems in table.items()
        for which, figures in systems.items()
        if which in ("model", "bm25", "random") or threshold == "chosen"
    ]
    return Table(
        f"Pruning of {name} by the {system} model, and baselines at the same compression",
        {"threshold": RIGHT, "system": TEXT, **dict.fromkeys(_PRUNED, "{:.4f}")},
        rows,
    )


def _curve(
    rows: Sequence[Example], sentences: Sentences, scores_S: np.ndarray, tokens_S: np.ndarray, run: Run
) -> list[dict[str, float]]:
    """Return metrics of keeping the sentences with the highest scores, from few of them to all.

    Tokens and characters are the shares kept; nDCG@10 is that of the ranking without texts that lost every sentence.
    """
    points = []
    for share in SHARES:
        kept_S = sentences.best(scores_S, 1 - share)
        figures = sentences.figures(kept_S)
        points.append(
            {
                "tokens": float(tokens_S[kept_S].sum() / tokens_S.sum()),
                "characters": 1 - figures["compression"],
                "recall": figures["recall"],
                HEADLINE: _ndcg(rows, sentences, kept_S, run),
            }
        )
    return points


def _scores(name: str, bm25_S: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    """Return scores to keep sentences by: probabilities of the systems so far, BM25 and random numbers."""
    import pyarrow.parquet as pq

    probabilities = {
        file.stem.rsplit(".", 1)[-1]: pq.read_table(file)["probability"].to_numpy()
        for file in sorted(folder.glob(f"{name}.*.parquet"))
    }
    return {**probabilities, "bm25": bm25_S, "random": np.random.default_rng(0).random(len(bm25_S))}


def _draw(stem: Path, curves: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Write recall of relevant sentences and nDCG against the share of tokens kept, as a table and a plot."""
    first = next(iter(curves.values()))
    rows = ([by, *point.values()] for by, curve in curves.items() for point in curve)
    write_csv(stem.with_name(f"{stem.name}.curve.csv"), ["kept_by", *first[0]], rows)
    with drawing(stem.with_name(f"{stem.name}.png"), 10, panels=2) as (_, (recall, ranking)):
        for number, (by, curve) in enumerate(curves.items()):
            style = {"color": look(number)["color"], "label": f"kept by {by}"}
            for axes, column in ((recall, "recall"), (ranking, HEADLINE)):
                axes.plot([point["tokens"] for point in curve], [point[column] for point in curve], **style)
        for axes, label in ((recall, "recall of helpful sentences"), (ranking, "nDCG@10 without emptied texts")):
            axes.set(xlabel="share of tokens kept", ylabel=label)
            axes.legend()


def _ndcg(rows: Sequence[Example], sentences: Sentences, kept_S: np.ndarray, run: Run) -> float:
    """Return the mean nDCG@10 of the ranking without texts that lost every sentence."""
    remaining = set(sentences.text_S[kept_S].tolist())
    pruned: Run = {}
    qrels, number = {}, 0
    for row in rows:
        pruned[row.query_id] = {}
        for document in row.documents:
            if not document.spans or number in remaining:
                pruned[row.query_id][document.doc_id] = run[row.query_id][document.doc_id]
            number += bool(document.spans)
        qrels[row.query_id] = {document.doc_id: int(document.label > 0) for document in row.documents}
    values = per_query({query: ranking for query, ranking in pruned.items() if ranking}, qrels)
    return float(np.mean([row[HEADLINE] for row in values.values()]))
