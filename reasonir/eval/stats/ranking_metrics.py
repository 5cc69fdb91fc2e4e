"""Ranking metrics per query by pytrec_eval, the field's reference implementation.

Ties are broken as in trec_eval, by score (in single precision) and then by document id, both descending. A query
without results counts as 0. Reciprocal rank and average precision are over the whole run, to the depth of its search.
A label is its document's gain in nDCG.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log2
from statistics import fmean

from reasonir.eval.trec import ordered
from reasonir.types import Qrels, Run

CUTOFFS = (1, 2, 3, 5, 10, 20, 50, 100, 1000)
PRECISION_CUTOFFS = (1, 3, 5, 10)
NAMES = (
    *(f"ndcg_at_{k}" for k in CUTOFFS),
    *(f"recall_at_{k}" for k in CUTOFFS),
    *(f"precision_at_{k}" for k in PRECISION_CUTOFFS),
    "map",
    "mrr",
    "mrr_at_10",
)
DEV_METRIC = "ndcg_at_10"
"""Metric of development evaluations: selects checkpoints, stops early, and ranks registered models."""
PerQuery = dict[str, dict[str, float]]


def per_query(run: Run, qrels: Qrels, *, relevant_from: int = 1) -> PerQuery:
    """Return every metric of `NAMES` for every judged query: query id -> metric -> value between 0 and 1.

    Args:
        run: scores by query and document.
        qrels: labels by query and document.
        relevant_from: least label that counts as relevant in binary metrics.
    """
    import pytrec_eval

    cutoffs = ",".join(map(str, CUTOFFS))
    judged = {query_id: dict(scores) for query_id, scores in qrels.items()}
    precision = ",".join(map(str, PRECISION_CUTOFFS))
    measures = {f"ndcg_cut.{cutoffs}", f"recall.{cutoffs}", f"P.{precision}", "map", "recip_rank"}
    measured = pytrec_eval.RelevanceEvaluator(judged, measures, relevance_level=relevant_from).evaluate(run)
    first_ten = {query_id: dict(ordered(ranking)[:10]) for query_id, ranking in run.items()}
    reciprocal = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}, relevance_level=relevant_from).evaluate(
        first_ten
    )
    result: PerQuery = {}
    for query_id in qrels:
        values = dict.fromkeys(NAMES, 0.0)
        for name, value in measured.get(query_id, {}).items():
            values[_metric(name)] = float(value)
        values["mrr_at_10"] = float(reciprocal.get(query_id, {}).get("recip_rank", 0.0))
        result[query_id] = values
    return result


def mean(values: PerQuery) -> dict[str, float]:
    """Return the mean of every metric over queries."""
    names = next(iter(values.values()), {})
    return {name: fmean(row[name] for row in values.values()) for name in names}


def chance_ndcg(gains: Iterable[float], k: int) -> float:
    """Return the mean nDCG@k over all orders of one query's documents: the floor of ranking candidates.

    Args:
        gains: gains of all documents, at least one of them above 0.
        k: the cut-off.
    """
    best = sorted(gains, reverse=True)
    discounts = [1 / log2(rank + 1) for rank in range(1, min(k, len(best)) + 1)]
    return fmean(best) * sum(discounts) / sum(gain * discount for gain, discount in zip(best, discounts, strict=False))


_RENAMED = {"ndcg_cut_": "ndcg_at_", "recall_": "recall_at_", "P_": "precision_at_", "recip_rank": "mrr"}


def _metric(name: str) -> str:
    for prefix, renamed in _RENAMED.items():
        if name.startswith(prefix):
            return name.replace(prefix, renamed)
    return name
