"""Two real training steps on this CPU, next to what the plan says of them; one process each, for its memory.

`python -m tests.scenarios.real_step BUDGET KEPT OVERRIDE...` prints a line of JSON.
"""

import copy
import ctypes
import gc
import json
import sys
import time
from typing import Any

import psutil
import torch

from reasonir.commands.api import compose
from reasonir.distributed.ranks import Alone
from reasonir.engine.step import Budget, run_step
from reasonir.hardware import number_format
from reasonir.planning.cards import card_of
from reasonir.planning.memory import Estimate
from reasonir.planning.trace import TextShapes, _batch, _tokens, trace_step
from reasonir.training.gradients import clip
from reasonir.utils.memory_meter import GIB, Meter

QUERIES = 16


def texts_of(longest: int, *, pairs: bool) -> TextShapes:
    """Queries and documents of uneven lengths."""
    drawn = torch.Generator().manual_seed(0)
    queries_N = torch.randint(8, max(9, longest // 8), (QUERIES,), generator=drawn)
    documents_N = (torch.rand(2 * QUERIES, generator=drawn).square() * (longest - 16)).long() + 16
    return TextShapes(documents_N, 0) if pairs else TextShapes(torch.cat([queries_N, documents_N]), QUERIES)


def main(micro_batch: int, kept: int, longest: int, overrides: list[str]) -> dict[str, float]:
    parts = compose(*overrides)
    hardware = parts.hardware.resolve()
    texts = texts_of(longest, pairs=parts.model.reads_pairs)
    budget = Budget(micro_batch, kept)
    started = time.perf_counter()
    trace = trace_step(parts.model, parts.objective, parts.optim, hardware, texts, documents=2)
    traced = time.perf_counter() - started
    estimate = Estimate(trace, hardware)
    cost, seconds = estimate.cost(texts, budget), estimate.seconds(texts, budget, card_of(hardware))
    encoder = parts.model.load(seed=0)
    batch = _batch(_tokens(texts.lengths_N, encoder.head), texts.queries, 2, parts.objective, encoder.head)
    resident = psutil.Process().memory_info().rss
    _steps(copy.deepcopy(encoder), parts, hardware, batch, budget)  # kernels are compiled and kept
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    libraries = psutil.Process().memory_info().rss - resident
    meter = Meter(torch.device("cpu"))
    times = _steps(encoder, parts, hardware, batch, budget)
    return {
        "planned": (cost.total - trace.weights) / GIB,
        "measured": meter.peak_gib,
        "planned_s": seconds,
        "measured_s": min(times),
        "traced_s": traced,
        "libraries": libraries / GIB,
        "moment": cost.moment,
        "packs": encoder.packs == trace.packs,
    }


def _steps(encoder: Any, parts: Any, hardware: Any, batch: Any, budget: Budget) -> list[float]:
    """Take two steps; return their seconds."""
    optimizer, times = parts.optim.optimizer(encoder), []
    for _ in range(2):
        started = time.perf_counter()
        with number_format(hardware.precision, "cpu"):
            loss = run_step(encoder, parts.objective, batch, budget, Alone())["loss"]
        loss.backward()
        clip(None, encoder.parameters(), 1.0, None)
        optimizer.step()
        optimizer.zero_grad()
        del loss
        times.append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:4]]
    print(json.dumps(main(*numbers, sys.argv[4:])))
