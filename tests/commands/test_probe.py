"""The meter sees what was held, and a probe holds the plan against real steps and leaves no run."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.running import run

METERED = """
import os, torch
from reasonir.utils.memory_meter import Meter

CPU = torch.device("cpu")
meter = Meter(CPU)
held = torch.ones(50_000_000)
assert 0.15 < meter.peak_gib < 0.3, meter.peak_gib
del held
assert meter.peak_gib > 0.15, meter.peak_gib
if os.access("/proc/self/clear_refs", os.W_OK):
    assert Meter(CPU).peak_gib < 0.1
"""


def test_the_meter_counts_from_its_creation_on():
    """In a process of its own: here, memory that other tests gave back leaves when it likes."""
    done = subprocess.run([sys.executable, "-c", METERED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_probe_says_how_far_off_the_estimate_is_and_leaves_no_run(home):
    """In a process of its own, as a user's is: in this one, memory of other tests would be used again."""
    arguments = ["model=tiny", "hardware=cpu", "loader.workers=0", "data=demo", "eval=demo", "probe=true"]
    done = subprocess.run(
        [sys.executable, "-m", "reasonir.train", *arguments, f"hydra.run.dir={home / 'probe'}"],
        env={**os.environ, "REASONIR_HOME": str(home), "MALLOC_MMAP_THRESHOLD_": "1048576"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Probe: a training step's memory" in done.stdout
    assert {file.name for file in (home / "probe").iterdir()} == {".hydra", "plan.json", "reasonir-train.log"}
    found = json.loads((home / "probe" / "plan.json").read_text())["probe"]
    assert found["estimated_gib"] / found["measured_gib"] == found["estimated_over_measured"]
    assert 0.5 < found["estimated_over_measured"] < 2
    for command in (("train", f"resume={home / 'probe'}"), ("evaluate", f"run={home / 'probe'}")):
        assert run(*command, home=home).status == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_probe_needs_the_device_and_the_weights(home, hub):
    done = run("train", "model=qwen", "hardware=t4", "data=demo", "eval=demo", "probe=true", home=home)
    assert done.status == 2
    assert "2 requirements not met" in done.err


def test_a_dry_run_shows_columns_limits_and_every_profile(home):
    done = run("train", "experiment=demo_tiny", "dry_run=true", home=home)
    assert done.status == 0, done.err
    for part in (
        "Texts by length",
        "Truncation by limit",
        "negatives",
        "▇",
        "t4",
        "h200",
        "rtx4090",
        "fits",
        "unknown",
    ):
        assert part in done.out
    plan = json.loads((done.folder / "plan.json").read_text())
    assert sum(plan["lengths"]["positives"]["histogram"].values()) == plan["lengths"]["positives"]["texts"]
    assert [cut["cap"] for cut in plan["lengths"]["queries"]["cuts"]][:2] == [32, 64]
    assert plan["probe"] == {}
