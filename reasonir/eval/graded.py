"""Benchmark on graded pairs: ranking of each test query's documents, and classification of every pair.

Besides the ranking metrics, every system gets the mean nDCG of a random order and its own position between that and a
perfect order; accuracy, precision, recall and F1 at probability 0.5 and at the threshold tuned on dev (`_tuned`); area
under the ROC curve, rank correlations, calibration error and Brier score: over all test pairs, including those of
queries that can't be ranked. A reranker's score is the logit of its probability; other scores become probabilities by
Platt scaling on dev. So a random order predicts the share of relevant pairs for every pair, and is the floor of these
metrics too.

Files per task and system: .parquet with every pair's score, .json with errors by relevance and the bins of the
calibration error; and a reliability plot of all systems.

Shape letters: P pairs.
"""

from __future__ import annotations

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
from reasonir.eval.digest import digest_of
from reasonir.eval.results import ExtraMetrics
from reasonir.eval.stats import pair_metrics as pairs
from reasonir.eval.stats.pair_metrics import BootstrapDraws, ScoredPairs
from reasonir.eval.stats.ranking_metrics import chance_ndcg, per_query
from reasonir.eval.stats.significance import Floats
from reasonir.eval.test_split import SourceTestSplit
from reasonir.types import Qrels, Run, Task
from reasonir.utils.files import atomic_path
from reasonir.utils.plotting import GREY, drawing, look
from reasonir.utils.state import read_json, write_json

log = logging.getLogger(__name__)

DEPTH = 10
_SHOWN = ("auc", "f1_tuned", "brier", "ece", "spearman_by_query", "ndcg_at_10_above_chance")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GradedBenchmark(SourceTestSplit):
    """Test queries of `data=graded`; `source` is the run's."""

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield the one task.

        Raises:
            InputError: the source has no graded pairs, or no dev or test part.
        """
        if not isinstance(self.source, Source):
            raise InputError("eval=graded needs graded pairs: name a run on data=graded, or give data=graded")
        if not self.source.splits[1]:
            raise InputError(
                f"data.splits={list(self.source.splits)}: eval=graded tunes thresholds on dev: give it a share"
            )
        rated = (self.source.pairs(part) for part in ("dev", "test"))  # those that can't be ranked among them
        content = digest_of(row for task, relevance in rated for row in _contents(task, relevance))
        for task in SourceTestSplit.tasks(self, corpus=corpus):
            yield replace(task, protocol={**task.protocol, "pairs": content})

    def analyse(self, system: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """Return metrics over pairs, with confidence intervals and differences from the systems evaluated before."""
        assert isinstance(self.source, Source)
        task, relevance = self.source.pairs("test")
        ranked = system.runs[task.name]
        rest = replace(task, queries={query: text for query, text in task.queries.items() if query not in ranked})
        rows = _rows(self.source, task, relevance, {**ranked, **(system.rank(rest) if rest.queries else {})})
        threshold = _calibrate(rows, system, self.source)
        scored = scored_pairs(rows, threshold)
        folder.mkdir(parents=True, exist_ok=True)
        stem, others = folder / f"{task.name}.{system.name}", _others(folder, task.name, system.name)
        _write_rows(rows, stem.with_name(f"{stem.name}.parquet"))
        write_json(stem.with_name(f"{stem.name}.json"), _errors(scored))
        _plot({**others, system.name: scored}, folder / f"{task.name}.reliability.png")
        bootstrap = BootstrapDraws.of(scored)
        figures = {**bootstrap.points, **above_chance(ranked, {query: task.qrels[query] for query in ranked})}
        shown = ", ".join(f"{name} {figures[name]:.3f}" for name in _SHOWN if name in figures)
        log.info("%s, %s: %s", task.name, system.name, shown)
        differences = {name: pairs.differences(scored, other) for name, other in others.items()}
        return {task.name: ExtraMetrics(figures, bootstrap.intervals(), differences)}


def above_chance(run: Run, qrels: Qrels) -> dict[str, float]:
    """Return the mean nDCG@10 of a random order, and the run's scaled between that (0) and a perfect order (1)."""
    floor = fmean(chance_ndcg(labels.values(), DEPTH) for labels in qrels.values())
    reached = fmean(values[f"ndcg_at_{DEPTH}"] for values in per_query(run, qrels).values())
    metrics = {f"ndcg_at_{DEPTH}_of_chance": floor}
    return metrics | ({f"ndcg_at_{DEPTH}_above_chance": (reached - floor) / (1 - floor)} if floor < 1 else {})


def scored_pairs(rows: Sequence[Row], threshold: float) -> ScoredPairs:
    """Convert a system's rows to arrays."""
    numbers: dict[str, int] = {}
    return ScoredPairs(
        query_P=np.array([numbers.setdefault(row["query_id"], len(numbers)) for row in rows]),
        relevance_P=_column(rows, "relevance"),
        relevant_P=_column(rows, "relevant").astype(bool),
        score_P=_column(rows, "score"),
        probability_P=_column(rows, "probability"),
        threshold=threshold,
    )


def _calibrate(rows: Sequence[Row], system: EvaluatedSystem, source: Source) -> float:
    """Set every row's probability, and return the threshold with the best F1 on dev."""
    dev, relevance = source.pairs("dev")
    dev_rows = _rows(source, dev, relevance, system.rank(dev))
    score_P, relevant_P = _column(dev_rows, "score"), _column(dev_rows, "relevant").astype(bool)
    is_logit = system.encoder is not None and system.encoder.head.reads_pairs
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
        for query_id, values in relevance.items()
        for doc_id, value in values.items()
    ]


def _contents(task: Task, relevance: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, ...]]:
    """Yield the texts and the relevance of a part's pairs."""
    texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
    for query_id, values in relevance.items():
        for doc_id, value in values.items():
            yield task.name, task.queries[query_id].text, texts[doc_id], repr(value)


def _sigmoid(scores: Floats) -> Floats:
    from scipy.special import expit

    return expit(scores)  # type: ignore[no-any-return]


def _column(rows: Sequence[Row], name: str) -> Floats:
    return np.array([row[name] for row in rows], dtype=float)


def _errors(scored: ScoredPairs) -> dict[str, Any]:
    return {
        "threshold": scored.threshold,
        "confusion": pairs.confusion(scored, 0.5),
        "confusion_tuned": pairs.confusion(scored, scored.threshold),
        "by_relevance": list(pairs.levels(scored)),
        "reliability": list(pairs.reliability(scored)),
    }


def _write_rows(rows: Sequence[Row], file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(file) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows)), partial)


def _others(folder: Path, task: str, system: str) -> dict[str, ScoredPairs]:
    """Read the scored pairs of the other systems so far, by name."""
    import pyarrow.parquet as pq

    systems = {}
    for file in sorted(folder.glob(f"{task}.*.parquet")):
        name = file.name.removeprefix(f"{task}.").removesuffix(".parquet")
        if name != system:
            threshold = read_json(file.with_suffix(".json"), keys=("threshold",), remedy="evaluate again")["threshold"]
            systems[name] = scored_pairs(pq.read_table(file).to_pylist(), threshold)
    return systems


def _plot(systems: Mapping[str, ScoredPairs], file: Path) -> None:
    """Plot the share of relevant pairs by predicted probability."""
    with drawing(file, 5, 5) as (_, (axes,)):
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        for number, (name, each) in enumerate(systems.items()):
            bins = list(pairs.reliability(each))
            x, y = ([each[key] for each in bins] for key in ("mean_probability", "share_relevant"))
            axes.plot(x, y, label=name, **look(number))
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability", ylabel="share of relevant pairs")
        axes.legend()
