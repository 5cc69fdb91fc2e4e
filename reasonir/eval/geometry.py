"""A collection in the BEIR layout, and on it the shape of an encoder's single vectors and what that is good for.

Ranked and judged as `eval=beir`. The vectors of the untrained and the trained model are then described
(`reasonir.eval.stats.vector_space`), and searched as they are, rounded, cut short and by a graph. All of it is done
again after whitening fitted on the documents, which needs no training: what a training for isotropy has to be better
than. Isotropy helps rounding and makes graphs harder to search, so both stand in the table.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reasonir.data.beir import read_task
from reasonir.errors import InputError
from reasonir.eval.base import EvaluatedSystem
from reasonir.eval.beir import BeirBenchmark
from reasonir.eval.results import HEADLINE, ExtraMetrics
from reasonir.eval.stats.ranking_metrics import mean, per_query
from reasonir.eval.stats.vector_space import Space, figures
from reasonir.index import quantised
from reasonir.index.quantised import Ranking
from reasonir.model.caching_encoder import CachingEncoder
from reasonir.types import PlainTexts, Task
from reasonir.utils.files import atomic_path
from reasonir.utils.plotting import drawing, look
from reasonir.utils.table import TEXT, Table

log = logging.getLogger(__name__)

DEPTH, AT = 100, 10
CODES, EFFORTS, FIRST_PREFIX = (16, 32), (16, 64, 256), 64
WHITENED = "whitened_"
_ROW = "row"


@dataclass(frozen=True, slots=True)
class Geometry(BeirBenchmark):
    """One split of a collection."""

    @classmethod
    def misfit(cls, head: Any) -> str | None:
        """See `Benchmark.misfit`."""
        if head.single_vector and not head.reads_pairs:
            return None
        gives = "scores of pairs" if head.reads_pairs else "many vectors a text"
        return (
            f"eval=geometry looks at heads of one vector a text, {head.__name__} gives {gives}: "
            "choose model/head=biencoder or gaussian, or eval=beir"
        )

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """The one task.

        Raises:
            InputError: what reading reports, or too few documents.
        """
        task = read_task(self.path, self.split, revision=self.revision, key="eval")
        if len(task.corpus) <= AT:
            raise InputError(
                f"eval.path={self.path} holds {len(task.corpus)} documents, too few for vectors to have a shape: give "
                f"a collection of more than {AT}, or choose eval=beir"
            )
        yield task

    def analyse(self, subject: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """The shape of an encoder's vectors and how they are searched, as they are and whitened."""
        if subject.encoder is None:
            return {}
        (task,) = self.tasks()
        space = _space(CachingEncoder(subject.encoder), task)
        found: dict[str, float] = {}
        rows = _read(folder / "geometry.csv")
        for name, prefix, each in (
            (subject.name, "", space),
            (f"{subject.name} + whitening", WHITENED, space.whitened()),
        ):
            log.info("Looking at the vectors: %s", name)
            rows[name] = {**figures(each), **_behaviour(each, task)}
            found |= {f"{prefix}{figure}": value for figure, value in rows[name].items()}
        _write(folder, rows)
        log.info("The vectors' shape and use: %s", folder / "geometry.md")
        return {task.name: ExtraMetrics(found)}


def _space(encoder: Any, task: Task) -> Space:
    """The vectors of a task's texts, with the pairs that are relevant."""
    place = {doc_id: number for number, doc_id in enumerate(task.corpus.ids)}
    pairs = [
        (number, place[doc_id])
        for number, query_id in enumerate(task.queries)
        for doc_id, label in task.qrels[query_id].items()
        if label > 0
    ]
    query_P, document_P = torch.tensor(pairs, dtype=torch.int64).T
    return Space(
        encoder.encode(PlainTexts(task.corpus.texts), "document").values_TD.float().cpu(),
        encoder.encode(list(task.queries.values()), "query").values_TD.float().cpu(),
        query_P,
        document_P,
        encoder.head.metric == "euclidean",
    )


def _behaviour(space: Space, task: Task) -> dict[str, float]:
    """nDCG@10 of every form of the vectors, and how much of the exact first ten a graph finds."""
    given = _arrays(space)
    judge = partial(_ndcg, task)
    euclidean = space.euclidean
    exact = quantised.exact(*given, DEPTH, euclidean=euclidean)
    signs = quantised.binary(*given, DEPTH)
    found = {
        "float32": judge(exact),
        "int8": judge(quantised.int8(*given, DEPTH, euclidean=euclidean)),
        "binary": judge(signs),
        "binary_rescored": judge(quantised.rescored(signs, *given)),
    }
    documents, size = given[0].shape
    for codes in CODES:
        if quantised.product_fits(documents, size, codes=codes):
            found[f"pq{codes}"] = judge(quantised.product(*given, DEPTH, codes=codes, euclidean=euclidean))
    for first in _prefixes(size):
        found[f"first{first}"] = judge(quantised.exact(*_arrays(space.prefix(first)), DEPTH, euclidean=euclidean))
    graphs = quantised.graph(*given, AT, efforts=EFFORTS, euclidean=euclidean)
    recalls = {f"hnsw{effort}_recall": _shared(places, exact.positions_QK[:, :AT]) for effort, places in graphs.items()}
    return {**{f"{HEADLINE}_{form}": value for form, value in found.items()}, **recalls}


def _arrays(space: Space) -> tuple[np.ndarray, np.ndarray]:
    return space.documents_ND.numpy(), space.queries_QD.numpy()


def _prefixes(size: int) -> list[int]:
    """64, 128, 256, ... below the full size."""
    return [first for first in (FIRST_PREFIX << step for step in range(size.bit_length())) if first < size]


def _ndcg(task: Task, found: Ranking) -> float:
    ids = task.corpus.ids
    run = {
        query_id: {ids[place]: score for place, score in zip(places, scores, strict=True)}
        for query_id, places, scores in zip(
            task.queries, found.positions_QK.tolist(), found.scores_QK.tolist(), strict=True
        )
    }
    return mean(per_query(run, task.qrels))[HEADLINE]


def _shared(found_QK: np.ndarray, exact_QK: np.ndarray) -> float:
    """The mean share of the exact places that were found."""
    return float((found_QK[:, :, None] == exact_QK[:, None, :]).any(1).mean())


def _read(file: Path) -> dict[str, dict[str, float]]:
    """The rows that earlier systems left."""
    if not file.is_file():
        return {}
    with file.open(newline="") as stream:
        return {
            row.pop(_ROW): {figure: float(value) for figure, value in row.items()} for row in csv.DictReader(stream)
        }


def _write(folder: Path, rows: Mapping[str, Mapping[str, float]]) -> None:
    """geometry.csv, the same as two tables in geometry.md, and geometry.png."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(next(iter(rows.values())))
    with atomic_path(folder / "geometry.csv") as unfinished, unfinished.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [_ROW, *names])
        writer.writeheader()
        writer.writerows({_ROW: row, **values} for row, values in rows.items())
    use = [name for name in names if name.startswith((HEADLINE, "hnsw"))]
    shape = [name for name in names if name not in use]
    with atomic_path(folder / "geometry.md") as unfinished:
        unfinished.write_text(f"{_table(rows, shape).markdown()}\n\n{_table(rows, use).markdown()}\n")
    _draw(folder / "geometry.png", rows, use)


def _table(rows: Mapping[str, Mapping[str, float]], names: list[str]) -> Table:
    heads = {name.removeprefix(f"{HEADLINE}_").replace("_", " "): "{:.4g}" for name in names}
    return Table("", {"": TEXT, **heads}, [[row, *(values[name] for name in names)] for row, values in rows.items()])


def _draw(file: Path, rows: Mapping[str, Mapping[str, float]], use: list[str]) -> None:
    """nDCG@10 by the form of the vectors, and a graph's recall by its effort."""
    searched = [name for name in use if name.startswith(HEADLINE)]
    labels = [name.removeprefix(f"{HEADLINE}_").replace("_", "\n") for name in searched]
    with drawing(file, 11, panels=2, ratios=(2, 1)) as (_, (forms, graphs)):
        for number, (row, values) in enumerate(rows.items()):
            style = {**look(number), "label": row}
            forms.plot(labels, [values[name] for name in searched], linestyle="", **style)
            recalls = [values[f"hnsw{effort}_recall"] for effort in EFFORTS]
            graphs.plot(EFFORTS, recalls, linestyle="--" if "whitening" in row else "-", **style)
        forms.set(xlabel="form of the vectors", ylabel="nDCG@10")
        graphs.set_xscale("log", base=2)
        graphs.set_xticks(EFFORTS, [str(effort) for effort in EFFORTS])
        graphs.set(xlabel="candidates that HNSW keeps", ylabel="share of the exact first ten")
        forms.legend()
