"""Growth of seconds and memory of the first peer's step with its tokens, over batch sizes and lengths.

All texts of a point have the same length. Every point has its own process, so its peak memory is its own. The slopes
are least-squares fits through all points on logarithmic axes: 1 for proportional to the tokens, 0 for independent.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from reasonir.benchmarking.peer_process import start_peer
from reasonir.benchmarking.plots import plot_scaling
from reasonir.benchmarking.setup import BenchParts, open_setting, plain_head
from reasonir.benchmarking.synthetic_texts import SyntheticTexts
from reasonir.errors import InputError
from reasonir.model.backbone import Model
from reasonir.report.console import show
from reasonir.utils.table import Table

log = logging.getLogger(__name__)
_QUERY = 32


def scaling(parts: BenchParts) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the content of bench.json, and metrics for MLflow.

    Raises:
        InputError: as for a comparison, or fewer than two points are within `max_tokens`.
    """
    name, peer = next(iter(parts.peers.items()))
    grid = points(parts.batch_sizes, parts.lengths, parts.negatives, max_tokens=parts.max_tokens)
    model = _with_length(parts.model, max(length for _, length in grid))
    measured: list[dict[str, float]] = []
    with open_setting(parts, {name: peer}, model) as setting:
        for count, length in grid:
            log.info("%d queries, documents of %d tokens", count, length)
            texts = SyntheticTexts("even", [0.5], [_QUERY], [length], parts.seed)
            workload, batch = setting.workload(texts, count, parts.negatives)
            with start_peer(name, peer, setting.folder) as host:
                host.load(peer, workload)
                host.receive()
                host.call("check")
                seconds = median(host.call("step") for _ in range(parts.repeats))
                peak = int(host.call("peak_gib") * 2**30)
            figures = {"batch_size": count, "length": length, "tokens": batch.token_count}
            measured.append({**figures, "step_s": seconds, "peak_bytes": peak})
    slopes = {key: slope(measured, key) for key in ("step_s", "peak_bytes")}
    show(_table(name, measured, slopes))
    plot_scaling(f"A training step: {name}, {Path(model.path).name}", measured, slopes, parts.folder / "bench.png")
    return {"scaling": {"peer": name, "points": measured, "slopes": slopes}}, {
        f"bench/{name}/slope_{key}": value for key, value in slopes.items()
    }


def points(
    batch_sizes: Sequence[int], lengths: Sequence[int], negatives: int, *, max_tokens: int
) -> list[tuple[int, int]]:
    """Return (queries, tokens per document) of every step of at most `max_tokens`.

    Raises:
        InputError: there are fewer than two.
    """
    grid = [
        (count, length)
        for count in batch_sizes
        for length in lengths
        if count * (_QUERY + (1 + negatives) * length) <= max_tokens
    ]
    if len(grid) < 2:
        raise InputError(f"scaling.max_tokens={max_tokens} leaves {len(grid)} points: raise it")
    return grid


def slope(points: Sequence[dict[str, float]], key: str) -> float:
    """Return the exponent of a measurement's growth with the tokens, over the points where it isn't 0.

    >>> round(slope([{"tokens": 10, "step_s": 3}, {"tokens": 20, "step_s": 6}], "step_s"), 6)
    1.0
    """
    positive = [(point["tokens"], point[key]) for point in points if point[key] > 0]
    if len({tokens for tokens, _ in positive}) < 2:
        return 0.0
    tokens, values = np.log(np.array(positive)).T
    return float(np.polyfit(tokens, values, 1)[0])


def _with_length(model: Model, length: int) -> Model:
    """Return the model with length limits for such documents, unless the configuration sets them."""
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
    note = f"Slope over tokens on logarithmic axes: seconds {slopes['step_s']:.2f}, memory {slopes['peak_bytes']:.2f}"
    return Table(f"Scaling of a step: {name}", columns, rows, note=note)
