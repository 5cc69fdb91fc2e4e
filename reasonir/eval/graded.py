"""Judged pairs as a benchmark: the documents of each test query put in order, and every pair called relevant or not.

Beside the ranking metrics stand, for every system, what a random order would have on average and how far above it the
system is; accuracy, precision, recall and F1 at probability 0.5 and at the threshold that is best on dev (`_tuned`);
the area under the ROC curve, rank correlations, calibration error and Brier score: over all test pairs, those of
queries that can't be ranked among them. A reranker's score is the logit of its probability; other scores become
probabilities by a logistic curve fitted on dev. So random order calls every pair by the share of relevant ones, and is
the floor under these figures too.

Files, a task and system each: .parquet with every pair's score, .json with errors by relevance and the bins behind the
calibration error; and a plot of the latter for all systems.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from reasonir.data.graded import Graded as Source
from reasonir.errors import InputError
from reasonir.eval.base import EvaluatedSystem
from reasonir.eval.results import ExtraMetrics
from reasonir.eval.stats import pair_metrics as pairs
from reasonir.eval.stats.pair_metrics import BootstrapDraws, Floats, ScoredPairs
from reasonir.eval.stats.ranking_metrics import chance_ndcg, per_query
from reasonir.eval.test_split import SourceTestSplit
from reasonir.types import Qrels, Run, Task
from reasonir.utils.files import atomic_path
from reasonir.utils.plotting import GREY, drawing, look

log = logging.getLogger(__name__)

DEPTH = 10
_SHOWN = ("auc", "f1_tuned", "brier", "ece", "spearman_by_query", "ndcg_at_10_above_chance")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GradedBenchmark(SourceTestSplit):
    """The test queries of `data=graded`; `source` is the run's."""

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """The one task.

        Raises:
            InputError: the source isn't one of graded pairs, or has no dev or test part.
        """
        if not isinstance(self.source, Source):
            raise InputError("eval=graded judges graded pairs: name a run on data=graded, or give data=graded")
        if not self.source.splits[1]:
            raise InputError(
                f"data.splits={list(self.source.splits)}: eval=graded tunes thresholds on dev: give it a share"
            )
        yield from SourceTestSplit.tasks(self, corpus=corpus)

    def analyse(self, subject: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """Figures over pairs, with intervals and differences from the systems that came before."""
        assert isinstance(self.source, Source)
        task, relevance = self.source.pairs("test")
        ranked = subject.runs[task.name]
        rest = replace(task, queries={query: text for query, text in task.queries.items() if query not in ranked})
        rows = _rows(self.source, task, relevance, {**ranked, **(subject.rank(rest) if rest.queries else {})})
        threshold = _calibrate(rows, subject, self.source)
        found = scored(rows, threshold)
        folder.mkdir(parents=True, exist_ok=True)
        own, others = folder / f"{task.name}.{subject.name}", _others(folder, task.name, subject.name)
        _write_rows(rows, own.with_name(f"{own.name}.parquet"))
        with atomic_path(own.with_name(f"{own.name}.json")) as partial:
            partial.write_text(json.dumps(_errors(found), indent=2))
        _plot({**others, subject.name: found}, folder / f"{task.name}.reliability.png")
        drawn = BootstrapDraws.of(found)
        figures = {**drawn.points, **above_chance(ranked, {query: task.qrels[query] for query in ranked})}
        shown = ", ".join(f"{name} {figures[name]:.3f}" for name in _SHOWN if name in figures)
        log.info("%s, %s: %s", task.name, subject.name, shown)
        differences = {name: drawn.ahead_of(BootstrapDraws.of(other)) for name, other in others.items()}
        return {task.name: ExtraMetrics(figures, drawn.intervals(), differences)}


def above_chance(run: Run, qrels: Qrels) -> dict[str, float]:
    """nDCG@10 of a random order on average, and of the run between that (0) and the best order (1)."""
    floor = fmean(chance_ndcg(judged.values(), DEPTH) for judged in qrels.values())
    reached = fmean(values[f"ndcg_at_{DEPTH}"] for values in per_query(run, qrels).values())
    found = {f"ndcg_at_{DEPTH}_of_chance": floor}
    return found | ({f"ndcg_at_{DEPTH}_above_chance": (reached - floor) / (1 - floor)} if floor < 1 else {})


def scored(rows: Sequence[Row], threshold: float) -> ScoredPairs:
    """The pairs of a system's rows."""
    numbers: dict[str, int] = {}
    return ScoredPairs(
        query_P=np.array([numbers.setdefault(row["query_id"], len(numbers)) for row in rows]),
        relevance_P=_column(rows, "relevance"),
        relevant_P=_column(rows, "relevant").astype(bool),
        score_P=_column(rows, "score"),
        probability_P=_column(rows, "probability"),
        threshold=threshold,
    )


def _calibrate(rows: Sequence[Row], subject: EvaluatedSystem, source: Source) -> float:
    """Give every pair its probability, and return the one from which on calling dev pairs relevant is best."""
    dev, relevance = source.pairs("dev")
    known = _rows(source, dev, relevance, subject.rank(dev))
    score_P, relevant_P = _column(known, "score"), _column(known, "relevant").astype(bool)
    is_logit = subject.encoder is not None and subject.encoder.head.reads_pairs
    probability = _sigmoid if is_logit else pairs.logistic(score_P, relevant_P)
    for row, value in zip(rows, probability(_column(rows, "score")).tolist(), strict=True):
        row["probability"] = value
    return pairs.best_threshold(probability(score_P), relevant_P)


def _rows(source: Source, task: Task, relevance: Mapping[str, Mapping[str, float]], run: Run) -> list[Row]:
    texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
    return [
        {
            "query_id": query_id,
            "query": task.queries[query_id].text,
            "document_id": doc_id,
            "document": texts[doc_id],
            "relevance": value,
            "relevant": source.relevant(value),
            "score": run[query_id][doc_id],
        }
        for query_id, judged in relevance.items()
        for doc_id, value in judged.items()
    ]


def _sigmoid(scores: Floats) -> Floats:
    from scipy.special import expit

    return expit(scores)  # type: ignore[no-any-return]


def _column(rows: Sequence[Row], name: str) -> Floats:
    return np.array([row[name] for row in rows], dtype=float)


def _errors(found: ScoredPairs) -> dict[str, Any]:
    return {
        "threshold": found.threshold,
        "confusion": pairs.confusion(found, 0.5),
        "confusion_tuned": pairs.confusion(found, found.threshold),
        "by_relevance": list(pairs.levels(found)),
        "reliability": list(pairs.reliability(found)),
    }


def _write_rows(rows: Sequence[Row], file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(file) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows)), partial)


def _others(folder: Path, task: str, own: str) -> dict[str, ScoredPairs]:
    """The pairs as the systems before scored them, by their names."""
    import pyarrow.parquet as pq

    found = {}
    for file in sorted(folder.glob(f"{task}.*.parquet")):
        name = file.name.removeprefix(f"{task}.").removesuffix(".parquet")
        if name != own:
            threshold = json.loads(file.with_suffix(".json").read_text())["threshold"]
            found[name] = scored(pq.read_table(file).to_pylist(), threshold)
    return found


def _plot(systems: Mapping[str, ScoredPairs], file: Path) -> None:
    """Draw how often pairs of a probability are relevant."""
    with drawing(file, 5, 5) as (_, (axes,)):
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        for number, (name, each) in enumerate(systems.items()):
            bins = list(pairs.reliability(each))
            x, y = ([each[key] for each in bins] for key in ("mean_probability", "share_relevant"))
            axes.plot(x, y, label=name, **look(number))
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability", ylabel="share of relevant pairs")
        axes.legend()
