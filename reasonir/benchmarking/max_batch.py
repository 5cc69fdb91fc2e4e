"""Largest batch of each peer in a device's memory, by doubling and bisection.

Every trial takes two steps in its own process, so a failed one leaves nothing in memory. The result is within a
sixteenth of the true limit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from reasonir.benchmarking.base import Peer
from reasonir.benchmarking.peer_process import OutOfMemoryError, start_peer
from reasonir.benchmarking.setup import BenchParts, Setting, WorkloadTexts, open_setting
from reasonir.errors import InputError
from reasonir.report.console import show
from reasonir.utils.table import TEXT, Table

log = logging.getLogger(__name__)
_EXACT = 16


def max_batch(parts: BenchParts) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the content of bench.json, and metrics for MLflow.

    Raises:
        InputError: as for a comparison; a CPU without `max_queries`, or a peer that fits no trial.
    """
    texts = parts.texts
    with open_setting(parts, parts.peers, parts.model) as setting:
        if setting.hardware.accelerator != "cuda" and parts.max_queries is None:
            raise InputError(
                f"mode=max_batch would use all memory of this {setting.hardware.accelerator}: set "
                "max_batch.max_queries=..., or use a GPU"
            )
        batches = {
            name: _Search(name, peer, setting, texts, parts.negatives).run(parts.batch_size, parts.max_queries)
            for name, peer in parts.peers.items()
        }
    show(table(texts.name, batches))
    return {"max_batch": {texts.name: {"memory_cap_gib": parts.memory_cap_gib, "peers": batches}}}, {
        f"bench/{name}/max_batch_{key}": value for name, batch in batches.items() for key, value in batch.items()
    }


class _Search:
    """Trials of a peer."""

    def __init__(self, name: str, peer: Peer, setting: Setting, texts: WorkloadTexts, negatives: int) -> None:
        self.name, self.peer = name, peer
        self.setting, self.texts, self.negatives = setting, texts, negatives
        self.figures: dict[int, dict[str, float]] = {}

    def run(self, start: int, most: int | None) -> dict[str, float]:
        """Return the measurements of the largest batch."""
        return self.figures[largest_fitting(self.fits, start, most)]

    def fits(self, count: int) -> bool:
        """Return True if `count` queries fit, and record their measurements."""
        workload, batch = self.setting.workload(self.texts, count, self.negatives)
        rows = len(workload.columns[0])
        if rows < count:
            raise InputError(f"{self.texts.name} has only {rows} rows, {count} are needed: choose another workload=")
        try:
            with start_peer(self.name, self.peer, self.setting.folder) as host:
                host.load(self.peer, workload)
                host.receive()
                host.call("check")
                seconds = host.call("step")
                peak = int(host.call("peak_gib") * 2**30)
        except OutOfMemoryError as error:
            log.info("%s doesn't fit %d queries: %s", self.name, count, error)
            return False
        log.info("%s fits %d queries", self.name, count)
        self.figures[count] = {
            "batch_size": count,
            "step_s": seconds,
            "tokens_per_s": batch.token_count / seconds,
            "peak_bytes": peak,
        }
        return True


def largest_fitting(fits: Callable[[int], bool], start: int, most: int | None) -> int:
    """Return the largest number that fits, to a sixteenth, searched from `start` up to `most`.

    Raises:
        InputError: not even 2 fit.
    """
    low, trial = 0, start if most is None else min(start, most)
    while fits(trial):
        low = trial
        if low == most:
            return low
        trial = low * 2 if most is None else min(low * 2, most)
    high = trial
    while high - low > max(1, low // _EXACT):
        if high <= 2:
            raise InputError("not even 2 queries fit: raise memory_cap_gib, or use shorter texts")
        trial = max(2, (low + high) // 2)
        low, high = (trial, high) if fits(trial) else (low, trial)
    return low


def table(workload: str, peers: Mapping[str, Mapping[str, float]]) -> Table:
    """Return the table of the largest batches of a workload, by peer."""
    columns = {"queries": "{:,.0f}", "step": "{:.2f} s", "tokens/s": "{:,.0f}", "peak above the model": "{:.2f} GiB"}
    rows = [
        [name, batch["batch_size"], batch["step_s"], batch["tokens_per_s"], batch["peak_bytes"] / 2**30]
        for name, batch in peers.items()
    ]
    return Table(f"Largest batch: {workload}", {"peer": TEXT, **columns}, rows)
