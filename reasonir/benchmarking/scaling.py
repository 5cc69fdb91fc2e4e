"""How seconds and memory of the first peer's step grow with its tokens, over batch sizes and lengths.

Texts are even, so that nothing but their number and length changes. Every point is a process of its own, whose peak
nothing earlier can have raised. The slopes are those of least squares through all points, both axes logarithmic: 1
means proportional to the tokens, 0 independent of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from reasonir.benchmarking.peer_process import hosted
from reasonir.benchmarking.plots import plot_scaling
from reasonir.benchmarking.setup import BenchParts, opened, plain_head
from reasonir.benchmarking.synthetic_texts import SyntheticTexts
from reasonir.errors import InputError
from reasonir.model.backbone import Model
from reasonir.report.console import show
from reasonir.utils.table import Table

log = logging.getLogger(__name__)
_QUERY = 32


def scaling(parts: BenchParts) -> tuple[dict[str, Any], dict[str, float]]:
    """The content of bench.json, and the figures for MLflow.

    Raises:
        InputError: as for a comparison, or fewer than two points are within `max_tokens`.
    """
    name, peer = next(iter(parts.peers.items()))
    grid = points(parts.batch_sizes, parts.lengths, parts.negatives, max_tokens=parts.max_tokens)
    model = _reading(parts.model, max(length for _, length in grid))
    found: list[dict[str, float]] = []
    with opened(parts, {name: peer}, model) as setting:
        for count, length in grid:
            log.info("%d queries, documents of %d tokens", count, length)
            texts = SyntheticTexts("even", [0.5], [_QUERY], [length], parts.seed)
            workload, batch = setting.workload(texts, count, parts.negatives)
            with hosted(name, peer, setting.place) as host:
                host.load(peer, workload)
                host.ask("check")
                seconds = median(host.ask("step") for _ in range(parts.repeats))
                peak = int(host.ask("peak_gib") * 2**30)
            figures = {"batch_size": count, "length": length, "tokens": batch.token_count}
            found.append({**figures, "step_s": seconds, "peak_bytes": peak})
    slopes = {key: slope(found, key) for key in ("step_s", "peak_bytes")}
    show(_table(name, found, slopes))
    plot_scaling(f"A training step: {name}, {Path(model.path).name}", found, slopes, parts.folder / "bench.png")
    return {"scaling": {"peer": name, "points": found, "slopes": slopes}}, {
        f"bench/{name}/slope_{key}": value for key, value in slopes.items()
    }


def points(
    batch_sizes: Sequence[int], lengths: Sequence[int], negatives: int, *, max_tokens: int
) -> list[tuple[int, int]]:
    """(queries, tokens of a document) of every step of at most so many tokens.

    Raises:
        InputError: fewer than two are.
    """
    found = [
        (count, length)
        for count in batch_sizes
        for length in lengths
        if count * (_QUERY + (1 + negatives) * length) <= max_tokens
    ]
    if len(found) < 2:
        raise InputError(f"scaling.max_tokens={max_tokens} leaves {len(found)} points: raise it")
    return found


def slope(found: Sequence[dict[str, float]], key: str) -> float:
    """The exponent with which a figure grows with the tokens, over the points where it isn't 0.

    >>> round(slope([{"tokens": 10, "step_s": 3}, {"tokens": 20, "step_s": 6}], "step_s"), 6)
    1.0
    """
    seen = [(point["tokens"], point[key]) for point in found if point[key] > 0]
    if len({tokens for tokens, _ in seen}) < 2:
        return 0.0
    tokens, values = np.log(np.array(seen)).T
    return float(np.polyfit(tokens, values, 1)[0])


def _reading(model: Model, length: int) -> Model:
    """The model with room for documents so long, where the composition doesn't say how long they may be."""
    options = model.length_options({"query": _QUERY, "document": length})
    return replace(model, head=plain_head(model, **options))


def _table(name: str, points: list[dict[str, float]], slopes: dict[str, float]) -> Table:
    columns = {
        **dict.fromkeys(("queries", "document tokens", "tokens"), "{:,.0f}"),
        "step": "{:.3f} s",
        "tokens/s": "{:,.0f}",
        "peak above the model": "{:.3f} GiB",
    }
    rows = [
        [p["batch_size"], p["length"], p["tokens"], p["step_s"], p["tokens"] / p["step_s"], p["peak_bytes"] / 2**30]
        for p in points
    ]
    note = f"Slope over tokens, both logarithmic: seconds {slopes['step_s']:.2f}, memory {slopes['peak_bytes']:.2f}"
    return Table(f"How a step grows: {name}", columns, rows, note=note)
