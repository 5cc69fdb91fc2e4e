"""Reranking of each query's candidates: those of the task, or the top documents of a first stage."""

from __future__ import annotations

from collections import defaultdict

import torch

from reasonir.eval.systems import System, open_candidates
from reasonir.model.caching_encoder import CachingEncoder
from reasonir.model.encoder import Embedder, Encoder
from reasonir.types import Pair, Run, Task, Text
from reasonir.utils.progress import progress

_QUERIES = 64


def reranking(reader: Encoder | CachingEncoder, first: System) -> System:
    """Return the system that orders a task's candidates, or else those of `first`, by the scores of pairs."""

    def rank(task: Task) -> Run:
        candidates = open_candidates(task) if task.candidates else first(task)
        texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
        run: Run = {}
        names = list(task.queries)
        blocks = [names[start : start + _QUERIES] for start in range(0, len(names), _QUERIES)]
        for block in progress(blocks, "Reranking", total=len(names), size=len):
            pairs = [(query, doc) for query in block for doc in candidates.get(query, ())]
            scores_P = reader.score_pairs([Pair(task.queries[query], Text(texts[doc])) for query, doc in pairs])
            for (query, doc), score in zip(pairs, scores_P.tolist(), strict=True):
                run.setdefault(query, {})[doc] = score
        return run

    return rank


def rerank_candidates(encoder: Embedder, search: System) -> System:
    """Return the system that orders a task's candidates with a retriever; tasks without any are searched."""

    @torch.no_grad()
    def rank(task: Task) -> Run:
        if not task.candidates:
            return search(task)
        index = {doc: number for number, doc in enumerate(task.corpus.ids)}
        wanted: dict[int, list[tuple[int, str, str]]] = defaultdict(list)
        for number, (query, docs) in enumerate(open_candidates(task).items()):
            for doc in docs:
                wanted[index[doc]].append((number, query, doc))
        queries = encoder.encode([task.queries[query] for query in task.queries], "query")
        run: Run = {query: {} for query in task.queries}
        needed = sorted(wanted)
        texts = [Text(task.corpus.texts[number]) for number in needed]
        for block, documents in encoder.stream(texts, "document"):
            scores_QN = encoder.head.score(queries, documents).float().cpu()
            for column, number in enumerate(needed[block]):
                for row, query, doc in wanted[number]:
                    run[query][doc] = float(scores_QN[row, column])
        return run

    return rank
