"""The largest batch that each peer fits into a device's memory, found by doubling and halving.

Every trial is a process of its own that takes two steps, so nothing is left over from one that didn't fit. The result
is within a sixteenth of the true limit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from reasonir.benchmarking.base import Peer
from reasonir.benchmarking.peer_process import OutOfMemoryError, hosted
from reasonir.benchmarking.setup import BenchParts, Setting, WorkloadTexts, opened
from reasonir.errors import InputError
from reasonir.report.console import show
from reasonir.utils.table import TEXT, Table

log = logging.getLogger(__name__)
_EXACT = 16


def max_batch(parts: BenchParts) -> tuple[dict[str, Any], dict[str, float]]:
    """The content of bench.json, and the figures for MLflow.

    Raises:
        InputError: as for a comparison; a CPU without `max_queries`, or a peer that doesn't fit a single trial.
    """
    texts = parts.texts
    with opened(parts, parts.peers, parts.model) as setting:
        if setting.hardware.accelerator != "cuda" and parts.max_queries is None:
            raise InputError(
                f"mode=max_batch would take all memory of this {setting.hardware.accelerator}: give "
                "max_batch.max_queries=..., or a GPU"
            )
        found = {
            name: _Search(name, peer, setting, texts, parts.negatives).run(parts.batch_size, parts.max_queries)
            for name, peer in parts.peers.items()
        }
    show(_table(texts.name, found))
    return {"max_batch": {texts.name: {"memory_cap_gib": parts.memory_cap_gib, "peers": found}}}, {
        f"bench/{name}/max_batch_{key}": value for name, each in found.items() for key, value in each.items()
    }


class _Search:
    """A peer's trials."""

    def __init__(self, name: str, peer: Peer, setting: Setting, texts: WorkloadTexts, negatives: int) -> None:
        self.name, self.peer = name, peer
        self.setting, self.texts, self.negatives = setting, texts, negatives
        self.figures: dict[int, dict[str, float]] = {}

    def run(self, start: int, most: int | None) -> dict[str, float]:
        """The largest batch with its figures."""
        return self.figures[largest_fitting(self.fits, start, most)]

    def fits(self, count: int) -> bool:
        """Whether so many queries fit; what they took is noted."""
        workload, batch = self.setting.workload(self.texts, count, self.negatives)
        rows = len(workload.columns[0])
        if rows < count:
            raise InputError(f"{self.texts.name} has no more than {rows} rows: choose another workload=")
        try:
            with hosted(self.name, self.peer, self.setting.place) as host:
                host.load(self.peer, workload)
                host.ask("check")
                seconds = host.ask("step")
                peak = int(host.ask("peak_gib") * 2**30)
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
    """The largest number that fits, to a sixteenth, tried from `start` upwards and at most to `most`.

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
            raise InputError("not even 2 queries fit: raise memory_cap_gib, or take shorter texts")
        trial = max(2, (low + high) // 2)
        low, high = (trial, high) if fits(trial) else (low, trial)
    return low


def _table(workload: str, peers: dict[str, dict[str, float]]) -> Table:
    columns = {"queries": "{:,.0f}", "step": "{:.2f} s", "tokens/s": "{:,.0f}", "peak above the model": "{:.2f} GiB"}
    rows = [
        [name, each["batch_size"], each["step_s"], each["tokens_per_s"], each["peak_bytes"] / 2**30]
        for name, each in peers.items()
    ]
    return Table(f"Largest batch: {workload}", {"peer": TEXT, **columns}, rows)
