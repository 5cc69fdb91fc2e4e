"""Training from a stream: the whole command, a run that dies, and options that need all rows."""

import json
import re

import pytest

from tests.commands.test_train import died_after, same_run
from tests.running import SHORTER, run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stream(home):
    """Arguments of a run on a stream of three files; several windows an epoch, and two epochs."""
    (home / "set" / "train").mkdir(parents=True)
    for part in range(3):
        rows = [{"query": f"word{n} of part {part}", "positive": f"text {n} says {part}"} for n in range(12)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (home / "set" / "train" / f"{part}.jsonl").write_text(lines)
    return (
        "model=tiny", "hardware=cpu", "data=triplets", f"data.path={home / 'set'}", "data.stream=true",
        "data.buffer=10", "trainer.max_steps=8", "loader.batch_size=6", "loader.dev_size=2", "loader.test_size=2",
        "loader.workers=0", "evaluation.baselines=[]", "dev_eval.every_n_steps=4", "checkpoint.every_n_steps=1",
        *SHORTER,
    )  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(home, stream):
    done = run("train", *stream, home=home)
    assert done.status == 0, done.err
    return done


def test_a_stream_trains_and_evaluates(uninterrupted, home):
    assert "row 1 of the stream is read as pair (query, positive)" in uninterrupted.err
    assert "Epoch 1 of the stream ends after 4 windows of 10 rows" in uninterrupted.err
    assert "Left out: 4 held out" in uninterrupted.err
    (task,) = json.loads((uninterrupted.folder / "results.json").read_text())["results"].values()
    assert len(task) == 1
    evaluated = run("evaluate", f"run={uninterrupted.folder}", home=home)
    assert evaluated.status == 0, evaluated.err


@pytest.mark.parametrize("step", [2, 6])
def test_a_stream_that_died_goes_on_bit_for_bit(uninterrupted, home, stream, monkeypatch, step):
    folder = died_after(step, *stream, home=home, monkeypatch=monkeypatch)
    again = run("train", f"resume={folder}", home=home)
    assert again.status == 0, again.err
    same_run(uninterrupted.folder, folder)


def test_a_stream_can_be_trained_longer(uninterrupted, home, stream):
    done = run("train", *stream, "trainer.max_steps=3", home=home)
    longer = run("train", f"resume={done.folder}", "trainer.max_steps=5", home=home)
    assert longer.status == 0, longer.err
    assert "Resuming after step 3" in longer.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.max_steps=-1"], "trainer.max_steps=-1: a stream has no known end"),
        (["mining=bm25"], "mining: needs all rows"),
        (["loader.sample_size=8"], "loader.sample_size=8: needs all rows"),
        (["teacher=reranker", "teacher.model.path=x"], "teacher"),
        (["data.buffer=1"], "data.buffer=1: give 2 or more"),
        (["data.split=dev"], "data.split=dev: .* has no such file"),
        (["data.subset=pair"], "data.subset=pair: .* has no such subset"),
    ],
)
def test_options_that_need_all_rows_are_refused(home, stream, options, message):
    done = run("train", *stream, *options, home=home)
    assert done.status == 2
    assert re.search(message, done.err), done.err


@pytest.mark.parametrize("command", ["prepare", "mine"])
def test_a_stream_is_never_prepared(home, stream, command):
    done = run(command, *stream[2:6], home=home)
    assert done.status == 2
    assert "data.stream=true: a stream is read as training goes" in done.err


def test_a_mixture_refuses_a_stream(home, stream):
    source = [f"data.sources.s.path={home}/set", "data.sources.s.stream=true"]
    mixed = ["data=mixture", "+data@data.sources.s=triplets", *source]
    done = run("train", "model=tiny", "hardware=cpu", *mixed, home=home)
    assert done.status == 2
    assert "sources.s.stream=true: a mixture is prepared as a whole" in done.err
