"""Largest batch that fits: the search, and the command with a peer that has a limit."""

import json
from dataclasses import dataclass

import pytest
import torch

from reasonir.benchmarking.max_batch import largest_fitting
from reasonir.benchmarking.reasonir_engine import ReasonirEngine
from reasonir.errors import InputError
from tests.running import run

FULL = 18


@dataclass(frozen=True)
class Limited(ReasonirEngine):
    """Engine on a device with memory for `FULL` queries."""

    def load(self, workload):
        if len(workload.columns[0]) > FULL:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().load(workload)


@pytest.mark.parametrize("limit", [2, 3, 7, 8, 9, 31, 100, 1000])
@pytest.mark.parametrize("start", [2, 3, 8, 64])
def test_the_search_ends_within_a_sixteenth(limit, start):
    tried = []
    found = largest_fitting(lambda count: tried.append(count) or count <= limit, start, None)
    assert found <= limit < found + max(1, found // 16) + 1
    assert len(tried) == len(set(tried)) <= 16
    assert min(tried) >= 2


def test_the_search_ends_at_the_most():
    tried = []
    assert largest_fitting(lambda count: tried.append(count) or True, 8, 20) == 20
    assert tried == [8, 16, 20]
    with pytest.raises(InputError, match="not even 2 queries fit"):
        largest_fitting(lambda _: False, 8, None)


def test_the_search_on_a_cpu_needs_a_limit(home):
    done = run("bench", "model=tiny", "mode=max_batch", home=home)
    assert done.status == 2
    assert "mode=max_batch would use all memory of this cpu: set max_batch.max_queries=..., or use a GPU" in done.err


@pytest.mark.slow
def test_each_peers_largest_batch_is_found(home):
    given = ["+peers.one={_target_: tests.benchmarking.test_max_batch.Limited}"]
    given += [f"~peers.{name}" for name in ("reasonir", "reasonir_recomputing", "uncached", "pylate", "pylate_cached")]
    options = (
        "workload=even",
        "workload.documents=[40]",
        "mode=max_batch",
        "max_batch.max_queries=20",
        "batch_size=16",
    )
    done = run("bench", "model=random_qwen_tiny", *options, "memory_cap_gib=15", *given, home=home)
    assert done.status == 0, done.err
    result = json.loads((done.folder / "bench.json").read_text())["max_batch"]["even"]
    assert result["memory_cap_gib"] == 15
    assert result["peers"]["one"]["batch_size"] == FULL
    assert result["peers"]["one"]["step_s"] > 0


@pytest.mark.slow
def test_too_few_rows_are_refused(home):
    done = run("bench", "model=tiny", "mode=max_batch", "max_batch.max_queries=100000", "batch_size=50000", home=home)
    assert done.status == 2
    assert "rows: choose another workload=" in done.err
