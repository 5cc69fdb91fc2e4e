"""Metrics of rankings for queries with aspects: novelty-biased gain and aspect recall, as BRIGHT-Pro defines them.

Clarke et al. 2008 (SIGIR) discount the gain of an aspect by 1 - alpha for each document above that covers it.
BRIGHT-Pro (Zhao et al. 2026, arXiv:2605.04018) weights each aspect, and scores to rank 25 with alpha .5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2

from reasonir.eval.trec import ordered
from reasonir.types import Aspect, Run

ALPHA, DEPTH = 0.5, 25
ALPHA_NDCG, ASPECT_RECALL = NAMES = (f"alpha_ndcg_at_{DEPTH}", f"aspect_recall_at_{DEPTH}")


def per_query(run: Run, aspects: Mapping[str, Sequence[Aspect]]) -> dict[str, dict[str, float]]:
    """Return both metrics for every query with aspects: query id -> metric -> value between 0 and 1."""
    return {
        query_id: _metrics([doc for doc, _ in ordered(run.get(query_id, {}))], of) for query_id, of in aspects.items()
    }


def _metrics(ranking: Sequence[str], aspects: Sequence[Aspect]) -> dict[str, float]:
    covered = [0] * len(aspects)
    gain = _gain(ranking[:DEPTH], aspects, covered)
    recalled = sum(aspect.weight for aspect, times in zip(aspects, covered, strict=True) if times)
    return {ALPHA_NDCG: gain / _gain(_ideal(aspects), aspects), ASPECT_RECALL: recalled}


def _gain(ranking: Sequence[str], aspects: Sequence[Aspect], covered: list[int] | None = None) -> float:
    """Return the discounted gain of a ranking; counts in `covered` how often each aspect occurs in it."""
    covered = [0] * len(aspects) if covered is None else covered
    gain = 0.0
    for rank, doc_id in enumerate(ranking, 1):
        for number, aspect in enumerate(aspects):
            if doc_id in aspect.doc_ids:
                gain += aspect.weight * (1 - ALPHA) ** covered[number] / log2(rank + 1)
                covered[number] += 1
    return gain


def _ideal(aspects: Sequence[Aspect]) -> list[str]:
    """Return the ranking that takes the highest gain at each rank: the best one if no two aspects share a document."""
    left = sorted(set().union(*(aspect.doc_ids for aspect in aspects)))
    covered = [0] * len(aspects)
    ranking: list[str] = []
    while left and len(ranking) < DEPTH:
        best = max(left, key=lambda doc_id: _gain([doc_id], aspects, covered.copy()))
        _gain([best], aspects, covered)
        ranking.append(best)
        left.remove(best)
    return ranking
