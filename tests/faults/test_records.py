"""Runs that are killed at any write and resumed: MLflow reads as if nothing had happened."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reasonir.runs.outcome import JobRecord
from tests.faults.faults import SMALL, Tally, check, counting, differences, killing, record, result, start

pytestmark = pytest.mark.slow
CASES = 12
"""Kills of each part: a part takes some minutes on two cores."""


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory) -> tuple[list[tuple[object, ...]], dict[str, object], int]:
    """The record and the result of an uninterrupted run, and how many writes it takes."""
    home, notes = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("notes")
    shutil.copytree(prepared, home, dirs_exist_ok=True)
    done = start(home, notes / "output", "train", *SMALL, before=counting(home, notes / "count"))
    assert done.wait() == 0, done.said
    return record(home), result(home), int((notes / "count").read_text())


def spread(writes: int, part: int, parts: int) -> Iterator[int]:
    """Numbers of writes over the whole run; those of the parts are different ones."""
    return (1 + (parts * case + part) * (writes - 1) // (parts * CASES) for case in range(CASES))


@pytest.mark.parametrize("part", range(4))
def test_a_killed_and_resumed_run_leaves_the_record_of_an_uninterrupted_one(prepared, whole, tmp_path, part):
    """Every third run is killed once more while it is resumed."""
    expected, expected_result, writes = whole
    tally = Tally(f"records, part {part}: kills at one of {writes} writes, then resume")
    for case, number in enumerate(spread(writes, part, 4)):
        home, output = tmp_path / str(case), tmp_path / "output"
        shutil.copytree(prepared, home)
        with tally.case(f"killed at write {number}"):
            killed = start(home, output, "train", *SMALL, before=killing(home, number))
            check(killed.wait() == -9, killed.said[-2000:])
            if case % 3 == 0 and resumable(home):
                resume(home, output, before=killing(home, writes // 3)).wait()
            again = resume(home, output)
            check(again.wait() == 0, again.said[-2000:])
            check(not (found := differences(expected, record(home))), found)
            check(result(home) == expected_result, "another result")
        shutil.rmtree(home)
    tally.done()


@pytest.mark.parametrize("job", ["0", "1"])
def test_a_killed_and_resumed_sweep_leaves_the_record_of_an_uninterrupted_one(prepared, tmp_path, job):
    """The sweep and its running job are killed together, as by a machine that goes down."""
    words = ("-m", *SMALL, "seed=1,2")
    homes = {name: tmp_path / name for name in ("whole", "killed")}
    for home in homes.values():
        shutil.copytree(prepared, home)
    done = start(homes["whole"], tmp_path / "output", "train", *words)
    assert done.wait() == 0, done.said
    home, tally = homes["killed"], Tally(f"records of a sweep, killed in job {job}")
    with tally.case("sweep"):
        killed = start(home, tmp_path / "output", "train", *words)
        while not any("train/loss" in file.read_text() for file in home.glob(f"multirun/*/{job}/metrics.csv")):
            time.sleep(0.01)
        (sweep,) = (home / "multirun").iterdir()
        running = JobRecord.read(sweep / job)
        os.kill(killed.pid, signal.SIGKILL)
        os.kill(running.pid, signal.SIGKILL)
        killed.wait()
        again = start(home, tmp_path / "output", "train", f"resume={sweep}")
        check(again.wait() == 0, again.said[-2000:])
        check(not (found := differences(*map(record, homes.values()))), found)
    tally.done()


def resumable(home: Path) -> list[Path]:
    """The folders of runs that have begun."""
    return [file.parent.parent for file in home.glob("outputs/*/.hydra/overrides.yaml")]


def resume(home: Path, output: Path, **options):
    """Resume the only run of a home; start it, if it had not begun."""
    words = [f"resume={folder}" for folder in resumable(home)] or SMALL
    return start(home, output, "train", *words, **options)
