"""Retrieval with shortened and quantised vectors: the quality that each byte buys, for single-vector retrievers.

The sizes are those that the model was trained at (Matryoshka) and the full one; each is searched as float32, as int8,
by signs (binary), and by signs ordered anew by the query's own numbers (`reasonir.index.quantised`). Rankings are
scored as in any evaluation.

Shape letters: N documents, Q queries, D vector size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from reasonir.data.batch import Representation
from reasonir.eval.stats.ranking_metrics import mean, per_query
from reasonir.index import quantised
from reasonir.index.quantised import Ranking
from reasonir.model.encoder import Embedder
from reasonir.types import PlainTexts, Run, Side, Task, Text

DEPTH = 100
_BITS = {"float32": 32, "int8": 8, "binary": 1, "binary, rescored": 1}


@dataclass(frozen=True, slots=True)
class Compressed:
    """A form of a model's vectors.

    Attributes:
        size: numbers in a vector.
        form: float32, int8, binary, or binary with rescoring.
        bytes: bytes of a document's vector.
        metrics: metrics by name, the mean over the tasks.
    """

    size: int
    form: str
    bytes: int
    metrics: Mapping[str, float]


@torch.no_grad()
def compressed(encoder: Embedder, tasks: Sequence[Task]) -> list[Compressed]:
    """Measure every form of a model's vectors on tasks; the largest vectors first."""
    found: dict[tuple[int, str], list[dict[str, float]]] = {}
    corpus = None
    for task in tasks:
        if task.corpus is not corpus:
            corpus, documents = task.corpus, _encoded(encoder, PlainTexts(task.corpus.texts), "document")
        queries = _encoded(encoder, list(task.queries.values()), "query")
        sizes = {pair[0].values_TD.shape[1]: pair for pair in encoder.head.views(queries, documents)}
        for size, pair in ({queries.values_TD.shape[1]: (queries, documents)} | sizes).items():
            for form, ranking in _rankings(task, *pair, euclidean=encoder.head.metric == "euclidean"):
                values = per_query(run_of(task, ranking), task.qrels, relevant_from=task.relevant_from)
                found.setdefault((size, form), []).append(mean(values))
    return [
        Compressed(size, form, -(-size * _BITS[form] // 8), {key: fmean(row[key] for row in rows) for key in rows[0]})
        for (size, form), rows in sorted(found.items(), key=lambda item: -item[0][0])
    ]


def run_of(task: Task, ranking: Ranking) -> Run:
    """Return the run of a ranking of a task's corpus: excluded documents, and all but candidates, are left out."""
    ids = task.corpus.ids
    run: Run = {}
    rows = zip(task.queries, ranking.positions_QK.tolist(), ranking.scores_QK.tolist(), strict=True)
    for query_id, positions, scores in rows:
        hidden, listed = task.excluded.get(query_id, frozenset()), task.candidates.get(query_id)
        allowed = None if listed is None else set(listed)
        run[query_id] = {
            ids[position]: score
            for position, score in zip(positions, scores, strict=True)
            if ids[position] not in hidden and (allowed is None or ids[position] in allowed)
        }
    return run


def _encoded(encoder: Embedder, texts: Sequence[Text], side: Side) -> Representation:
    """Return the vectors of texts in memory, in float32."""
    cpu = torch.device("cpu")
    return Representation.join([part.to(device=cpu, dtype=torch.float32) for _, part in encoder.stream(texts, side)])


def _rankings(
    task: Task, queries: Representation, documents: Representation, *, euclidean: bool
) -> Iterator[tuple[str, Ranking]]:
    """Yield every form with its ranking, deep enough for the documents that are left out."""
    arrays = documents.values_TD.numpy(), queries.values_TD.numpy()
    longest = max(map(len, task.excluded.values()), default=0)
    k = len(task.corpus) if task.candidates else DEPTH + longest
    signs = quantised.binary(*arrays, k)
    yield "float32", quantised.exact(*arrays, k, euclidean=euclidean)
    yield "int8", quantised.int8(*arrays, k, euclidean=euclidean)
    yield "binary", signs
    yield "binary, rescored", quantised.rescored(signs, *arrays)
