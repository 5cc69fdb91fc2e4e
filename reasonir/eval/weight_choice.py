"""The weight of one of two scores, chosen on development queries."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from reasonir.errors import InputError
from reasonir.eval.stats.ranking_metrics import DEV_METRIC, per_query
from reasonir.types import Run, Task

_WEIGHTS = [step / 20 for step in range(21)]


def development_for(key: str, development: Task | None) -> Task:
    """Return the development queries that choose the weight `key`.

    Raises:
        InputError: there are none.
    """
    if development is None:
        raise InputError(
            f"{key}=null is chosen on development queries, and there are none: evaluate a run whose data holds some "
            "out, give data=, or set a weight"
        )
    return development


def best_weight(fused: Callable[[float], Run], task: Task, *, usual: float) -> tuple[float, dict[float, float]]:
    """Return the weight from 0 to 1, in steps of .05, whose fused rankings have the best mean nDCG@10, and that of all.

    Of equals it is the nearest to the usual one.
    """
    quality = {
        weight: fmean(query[DEV_METRIC] for query in per_query(fused(weight), task.qrels).values())
        for weight in sorted(_WEIGHTS, key=lambda weight: abs(weight - usual))
    }
    return max(quality, key=quality.__getitem__), quality
