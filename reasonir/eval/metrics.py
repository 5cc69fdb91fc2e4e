"""Ranking metrics a query, by trec_eval (pytrec_eval): the field's reference implementation.

Ties are broken as trec_eval does, by score (in single precision) and then by document id, both descending. A query
without any result counts as 0. Reciprocal rank and average precision look at the whole run, which ends at the depth it
was made with.
"""

from __future__ import annotations

from statistics import fmean

from reasonir.eval.trec import ordered
from reasonir.types import Qrels, Run

CUTOFFS = (1, 5, 10, 20, 50, 100, 1000)
NAMES = (*(f"ndcg_at_{k}" for k in CUTOFFS), *(f"recall_at_{k}" for k in CUTOFFS), "map", "mrr", "mrr_at_10")
PerQuery = dict[str, dict[str, float]]


def per_query(run: Run, qrels: Qrels) -> PerQuery:
    """Every metric of `NAMES` for every judged query: query id -> metric -> value between 0 and 1."""
    import pytrec_eval

    cutoffs = ",".join(map(str, CUTOFFS))
    judged = {query_id: dict(scores) for query_id, scores in qrels.items()}
    measures = {f"ndcg_cut.{cutoffs}", f"recall.{cutoffs}", "map", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)
    first_ten = {query_id: dict(ordered(ranking)[:10]) for query_id, ranking in run.items()}
    reciprocal = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(first_ten)
    result: PerQuery = {}
    for query_id in qrels:
        values = dict.fromkeys(NAMES, 0.0)
        for name, value in found.get(query_id, {}).items():
            values[_ours(name)] = float(value)
        values["mrr_at_10"] = float(reciprocal.get(query_id, {}).get("recip_rank", 0.0))
        result[query_id] = values
    return result


def mean(values: PerQuery) -> dict[str, float]:
    """The mean of every metric over queries."""
    return {name: fmean(row[name] for row in values.values()) for name in NAMES}


def _ours(name: str) -> str:
    return {"recip_rank": "mrr"}.get(name, name.replace("ndcg_cut_", "ndcg_at_").replace("recall_", "recall_at_"))
