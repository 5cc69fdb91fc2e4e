"""Benchmark of the geometry of single vectors on a collection in the BEIR layout.

Ranking and scoring as in `eval=beir`. For the untrained and the trained model, vector-space metrics
(`reasonir.eval.stats.vector_space`) are reported, and nDCG of searching the vectors exactly, quantised, truncated and
with a graph. All of it is repeated after whitening fitted on the documents, the training-free baseline of training for
isotropy. Isotropy helps quantisation and makes graphs harder to search, so both are reported.

Shape letters: N documents, Q queries, K results, P relevant pairs, D vector size.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reasonir.errors import InputError
from reasonir.eval.base import EvaluatedSystem
from reasonir.eval.beir import BeirBenchmark
from reasonir.eval.compressed import DEPTH, run_of
from reasonir.eval.results import HEADLINE, ExtraMetrics
from reasonir.eval.stats.ranking_metrics import mean, per_query
from reasonir.eval.stats.vector_space import Space, figures
from reasonir.index import quantised
from reasonir.index.quantised import Ranking
from reasonir.model.caching_encoder import CachingEncoder
from reasonir.types import PlainTexts, Task
from reasonir.utils.files import atomic_path
from reasonir.utils.plotting import drawing, look
from reasonir.utils.table import TEXT, Table, read_csv, write_csv

log = logging.getLogger(__name__)

AT = 10
CODES, EFFORTS, FIRST_PREFIX = (16, 32), (16, 64, 256), 64
WHITENED = "whitened_"
_ROW = "row"


@dataclass(frozen=True, slots=True)
class Geometry(BeirBenchmark):
    """One split of a collection, for single-vector retrievers."""

    @classmethod
    def incompatibility(cls, head: Any) -> str | None:
        """See `Benchmark.incompatibility`."""
        if head.reads_pairs:
            output = "scores of pairs"
        elif head.sparse:
            output = "sparse weights of terms"
        elif not head.single_vector:
            output = "many vectors per text"
        else:
            return None
        return (
            f"eval=geometry needs one vector per text, {head.__name__} gives {output}: "
            "choose model/head=biencoder or gaussian, or eval=beir"
        )

    def tasks(self, *, corpus: bool = True) -> Iterator[Task]:
        """Yield the one task.

        Raises:
            InputError: reading fails, or the collection has too few documents.
        """
        (task,) = BeirBenchmark.tasks(self, corpus=corpus)
        if len(task.corpus) <= AT:
            raise InputError(
                f"eval.path={self.path} has {len(task.corpus)} documents, too few for vector-space metrics: choose "
                f"a collection of more than {AT}, or eval=beir"
            )
        yield task

    def analyse(self, system: EvaluatedSystem, folder: Path) -> Mapping[str, ExtraMetrics]:
        """Return the metrics of an encoder's vectors and of searching them, as they are and whitened."""
        if system.encoder is None:
            return {}
        (task,) = self.tasks()
        space = _space(CachingEncoder(system.encoder), task)
        metrics: dict[str, float] = {}
        rows = _read(folder / "geometry.csv")
        for name, prefix, vectors in (
            (system.name, "", space),
            (f"{system.name} + whitening", WHITENED, space.whitened()),
        ):
            log.info("Vector-space metrics of %s", name)
            rows[name] = {**figures(vectors), **_search_metrics(vectors, task)}
            metrics |= {f"{prefix}{figure}": value for figure, value in rows[name].items()}
        _write(folder, rows)
        log.info("Vector-space metrics: %s", folder / "geometry.md")
        return {task.name: ExtraMetrics(metrics)}


def _space(encoder: Any, task: Task) -> Space:
    """Encode a task's texts and index its relevant pairs."""
    index = {doc_id: number for number, doc_id in enumerate(task.corpus.ids)}
    pairs = [
        (number, index[doc_id])
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


def _search_metrics(space: Space, task: Task) -> dict[str, float]:
    """Return nDCG@10 of every form of the vectors, and recall of a graph against the exact top ten."""
    arrays = _arrays(space)
    ndcg = partial(_ndcg, task)
    euclidean = space.euclidean
    exact = quantised.exact(*arrays, DEPTH, euclidean=euclidean)
    signs = quantised.binary(*arrays, DEPTH)
    ndcgs = {
        "float32": ndcg(exact),
        "int8": ndcg(quantised.int8(*arrays, DEPTH, euclidean=euclidean)),
        "binary": ndcg(signs),
        "binary_rescored": ndcg(quantised.rescored(signs, *arrays)),
    }
    documents, size = arrays[0].shape
    for codes in CODES:
        if quantised.product_fits(documents, size, codes=codes):
            ndcgs[f"pq{codes}"] = ndcg(quantised.product(*arrays, DEPTH, codes=codes, euclidean=euclidean))
    for first in _prefixes(size):
        ndcgs[f"first{first}"] = ndcg(quantised.exact(*_arrays(space.prefix(first)), DEPTH, euclidean=euclidean))
    graphs = quantised.graph(*arrays, AT, efforts=EFFORTS, euclidean=euclidean)
    recalls = {
        f"hnsw{effort}_recall": _overlap(index_QK, exact.positions_QK[:, :AT]) for effort, index_QK in graphs.items()
    }
    return {**{f"{HEADLINE}_{form}": value for form, value in ndcgs.items()}, **recalls}


def _arrays(space: Space) -> tuple[np.ndarray, np.ndarray]:
    return space.documents_ND.numpy(), space.queries_QD.numpy()


def _prefixes(size: int) -> list[int]:
    """Return 64, 128, 256, ... below the full size."""
    return [first for first in (FIRST_PREFIX << step for step in range(size.bit_length())) if first < size]


def _ndcg(task: Task, hits: Ranking) -> float:
    return mean(per_query(run_of(task, hits), task.qrels))[HEADLINE]


def _overlap(index_QK: np.ndarray, exact_QK: np.ndarray) -> float:
    """Return the mean share of exact results that are among the given ones."""
    return float((index_QK[:, :, None] == exact_QK[:, None, :]).any(1).mean())


def _read(file: Path) -> dict[str, dict[str, float]]:
    """Read the rows of earlier systems."""
    if not file.is_file():
        return {}
    return {row.pop(_ROW): {figure: float(value) for figure, value in row.items()} for row in read_csv(file)}


def _write(folder: Path, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Write geometry.csv, its content as two tables in geometry.md, and geometry.png."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(next(iter(rows.values())))
    every = ([row, *(values[name] for name in names)] for row, values in rows.items())
    write_csv(folder / "geometry.csv", [_ROW, *names], every)
    search = [name for name in names if name.startswith((HEADLINE, "hnsw"))]
    shape = [name for name in names if name not in search]
    with atomic_path(folder / "geometry.md") as unfinished:
        unfinished.write_text(f"{_table(rows, shape).markdown()}\n\n{_table(rows, search).markdown()}\n")
    _draw(folder / "geometry.png", rows, search)


def _table(rows: Mapping[str, Mapping[str, float]], names: list[str]) -> Table:
    heads = {name.removeprefix(f"{HEADLINE}_").replace("_", " "): "{:.4g}" for name in names}
    return Table("", {"": TEXT, **heads}, [[row, *(values[name] for name in names)] for row, values in rows.items()])


def _draw(file: Path, rows: Mapping[str, Mapping[str, float]], names: list[str]) -> None:
    """Plot nDCG@10 by the form of the vectors, and a graph's recall by its search effort."""
    searched = [name for name in names if name.startswith(HEADLINE)]
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
        graphs.set(xlabel="HNSW search effort (ef)", ylabel="recall of the exact top ten")
        forms.legend()
