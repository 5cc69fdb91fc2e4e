"""Training throughput between two log lines: tokens per second, share of time spent waiting for data."""

from __future__ import annotations

import time


class Throughput:
    """Measures time, tokens and data wait since the last `rates`."""

    def __init__(self) -> None:
        self._tokens = 0
        self._waited = 0.0
        self._since = self._batch_ended = time.perf_counter()

    def batch_starts(self) -> None:
        """Count the time since the last batch as waiting for data."""
        self._waited += time.perf_counter() - self._batch_ended

    def add_tokens(self, tokens: int) -> None:
        """Count the tokens of a batch."""
        self._tokens += tokens

    def batch_ends(self) -> None:
        """Start to wait for the next batch."""
        self._batch_ended = time.perf_counter()

    def exclude(self, seconds: float) -> None:
        """Leave out time that was not spent on training."""
        self._since += seconds

    def rates(self, ranks: int) -> dict[str, float]:
        """Return tokens/s of all ranks, the share of time spent waiting for data, and the seconds; then reset."""
        now = time.perf_counter()
        seconds = now - self._since
        values = {
            "tokens_per_s": self._tokens * ranks / seconds,
            "data_wait": self._waited / seconds,
            "seconds": seconds,
        }
        self._tokens, self._since, self._waited = 0, now, 0.0
        return values
