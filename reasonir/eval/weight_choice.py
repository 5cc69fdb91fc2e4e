"""The weight of one of two scores, chosen on development queries."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from reasonir.eval.stats.ranking_metrics import DEV_METRIC, per_query
from reasonir.types import Run, Task

_WEIGHTS = [step / 20 for step in range(21)]


def qualities(fused: Callable[[float], Run], task: Task, *, usual: float) -> dict[float, float]:
    """Return the mean nDCG@10 of the fused rankings at every weight from 0 to 1 in steps of .05.

    Weights come in the order of their distance from the usual one, so that `max` takes the nearest of equals.
    """
    return {
        weight: fmean(query[DEV_METRIC] for query in per_query(fused(weight), task.qrels).values())
        for weight in sorted(_WEIGHTS, key=lambda weight: abs(weight - usual))
    }
