"""Disks that fill up at any write: one line says so, nothing partial stays, and the same command gives the same result.

The home is on a file system of its own, whose size decides at which write there is no space left. It is enlarged after
the command has ended.
"""

import shutil
from pathlib import Path

import pytest

from tests.faults.faults import SMALL, Tally, check, result, small_disk, start

pytestmark = pytest.mark.slow
CASES = 10
"""Sizes of each part: a part takes some minutes on two cores."""
ROOMY = 200_000
"""KiB that are enough for everything."""


def used(disk: Path) -> int:
    """KiB that are taken on a file system."""
    return shutil.disk_usage(disk).used // 1024


def fill_up(what: str, command: str, words: tuple[str, ...], there: Path | None, folder: Path, part: int, parts: int):
    """Run a command on disks of several sizes, then again with room, and compare with one that always had it.

    Args:
        what: is tried, for the figures.
        command: and its `words`.
        there: a home that is on the disk before.
        folder: for the disks.
        part: of the `parts` among which the sizes are shared out.
    """
    disk, output = folder / "disk", folder / "output"
    with small_disk(disk, ROOMY):
        _put(there, disk)
        before = used(disk)
        done = start(disk, output, command, *words)
        assert done.wait() == 0, done.said
        expected, after = result(disk), used(disk)
    tally = Tally(f"{what}, part {part}: full disks")
    for case in range(CASES):
        room = 8 + (parts * case + part) * (after - before - 8) // (parts * CASES)
        with small_disk(disk, ROOMY) as resize, tally.case(f"{room} KiB free"):
            _put(there, disk)
            resize(used(disk) + room)
            full = start(disk, output, command, *words)
            status, lines = full.wait(), [line for line in full.said.splitlines() if line.strip()]
            resize(ROOMY)
            if status == 0:  # what was removed meanwhile made room
                check(result(disk) == expected, "another result")
                continue
            check("Traceback" not in full.said and "--- Logging error" not in full.said, full.said[-3000:])
            check("is full" in lines[-1] or "No space left" in lines[-1], "\n".join(lines[-5:]))
            check(str(disk) in lines[-1], lines[-1])
            check(not list(disk.rglob("*.partial-*")), str(list(disk.rglob("*.partial-*"))))
            begun = (
                [f"resume={file.parent}" for file in disk.glob("outputs/*/config.yaml")] if command == "train" else []
            )
            for file in [] if begun else disk.glob("outputs/*"):
                if file.is_dir() and not (there and (there / "outputs" / file.name).exists()):
                    shutil.rmtree(file)
            again = start(disk, output, command, *(begun or words))
            check(again.wait() == 0, again.said[-3000:])
            check(result(disk) == expected, "another result")
    tally.done()


def _put(home: Path | None, disk: Path) -> None:
    if home is not None:
        shutil.copytree(home, disk, dirs_exist_ok=True)


@pytest.mark.parametrize("part", range(4))
def test_training(tmp_path, part):
    """From an empty home: preparation, model, database, training, export, evaluation, report."""
    fill_up("training", "train", SMALL, None, tmp_path, part, 4)


@pytest.mark.parametrize("part", range(2))
def test_evaluation(trained, tmp_path, part):
    """Of a run, with its results in MLflow."""
    (run,) = (trained / "outputs").iterdir()
    words = (f"run={tmp_path}/disk/outputs/{run.name}", "eval=demo", "evaluation.baselines=[random]", "logger=mlflow")
    fill_up("evaluation", "evaluate", words, trained, tmp_path, part, 2)


@pytest.mark.parametrize("part", range(2))
def test_mining(trained, tmp_path, part):
    """With BM25 on the training data."""
    fill_up("mining", "mine", ("data=demo", "data.variants=1", "mining=bm25"), trained, tmp_path, part, 2)


@pytest.mark.parametrize("part", range(2))
def test_search(trained, corpus, tmp_path, part):
    """The index of a corpus, and a file of answers."""
    (run,) = (trained / "outputs").iterdir()
    queries = f"queries={corpus.with_name('queries.jsonl')}"
    words = (f"run={tmp_path}/disk/outputs/{run.name}", f"corpus={corpus}", queries)
    fill_up("search", "search", words, trained, tmp_path, part, 2)
