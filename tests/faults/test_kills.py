"""Commands that are killed at any write and given again: the same result, and nothing partial stays.

Training is in test_records.py, whose kills also compare MLflow's record.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.faults import Tally, check, counting, killing, result, start

pytestmark = pytest.mark.slow
CASES = 36
"""Kills of each part at most: a part takes some minutes on two cores."""
MINING = ("mining=bm25", "mining.range_min=0", "mining.range_max=9")
DEMO = ("data=demo", "data.variants=1")
TEACHER = ("teacher=reranker", "model@teacher.model=tiny_reranker", "hardware=cpu")


def kill_everywhere(
    what: str, command: str, words: Sequence[str], there: Path | None, folder: Path, part: int = 0, parts: int = 1
) -> None:
    """Kill a command at writes spread over its whole course, give it again, and compare with one that went through.

    Args:
        what: is tried, for the figures.
        command: and its `words`; "{home}" in them is its home.
        there: a home that is there before.
        folder: for the homes.
        part: of the `parts` among which the writes are shared out.
    """

    def home_of(name: str) -> tuple[Path, list[str], set[Path]]:
        home = folder / name
        home.mkdir() if there is None else shutil.copytree(there, home)
        return home, [word.format(home=home) for word in words], set(home.glob("outputs/*/"))

    output = folder / "output"
    home, given, _ = home_of("whole")
    done = start(home, output, command, *given, before=counting(home, folder / "count"))
    assert done.wait() == 0, done.said
    expected, writes = result(home), int((folder / "count").read_text())
    assert expected != (result(there) if there else {})
    tally = Tally(f"{what}, part {part}: kills at one of {writes} writes, then again")
    for number in sorted({1 + case * (writes - 1) // (parts * CASES) for case in range(part, parts * CASES, parts)}):
        home, given, before = home_of(str(number))
        with tally.case(f"killed at write {number}"):
            killed = start(home, output, command, *given, before=killing(home, number))
            check(killed.wait() == -9, killed.said[-2000:])
            for begun in set(home.glob("outputs/*/")) - before:
                shutil.rmtree(begun)
            again = start(home, output, command, *given)
            check(again.wait() == 0, again.said[-2000:])
            check(result(home) == expected, "another result")
            check(not (left := list(home.rglob("*.partial-*"))), str(left))
        shutil.rmtree(home)
    tally.done()


def test_preparation_and_mining(tmp_path):
    """From an empty home, with BM25 and a teacher's scores."""
    kill_everywhere("mining", "mine", (*DEMO, *MINING, *TEACHER), None, tmp_path)


def test_preparation(tmp_path):
    """From an empty home."""
    kill_everywhere("preparation", "prepare", DEMO, None, tmp_path)


@pytest.mark.parametrize("part", range(2))
def test_evaluation(trained, tmp_path, part):
    """Of a run, with baselines of which one encodes everything."""
    (run,) = (trained / "outputs").iterdir()
    words = (f"run={{home}}/outputs/{run.name}", "eval=demo", "evaluation.baselines=[bm25,random,untrained]")
    kill_everywhere("evaluation", "evaluate", (*words, "logger=mlflow"), trained, tmp_path, part, 2)


def test_search(trained, corpus, tmp_path):
    """The index of a corpus, and a file of answers."""
    (run,) = (trained / "outputs").iterdir()
    queries = f"queries={corpus.with_name('queries.jsonl')}"
    kill_everywhere(
        "search", "search", (f"run={{home}}/outputs/{run.name}", f"corpus={corpus}", queries), trained, tmp_path
    )
