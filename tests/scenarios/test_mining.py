"""Mining inside a run: the development set doesn't leak into training, and split and dev task stay the same."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from reasonir.data.batch import Tokens
from reasonir.data.batches.collate import contrast
from reasonir.data.beir import Beir
from reasonir.data.prepared import prepare, read, read_manifest
from reasonir.data.splits.holdout import relevant_keys
from reasonir.index.bm25 import Bm25
from reasonir.mining.bm25 import Bm25Miner
from reasonir.mining.negatives import HardNegatives
from reasonir.training.datamodule import RetrievalData
from reasonir.training.options import LoaderOptions
from tests.data import test_beir as beir

COUNT = 40


def collection(folder, *, dev=()):
    """Every document shares words with every query, so that every document is somebody's hard negative."""
    corpus = [{"_id": f"d{i}", "title": "", "text": f"ice water salt {i}"} for i in range(COUNT)]
    queries = [{"_id": f"q{i}", "text": f"why ice water {i}"} for i in range(COUNT)]
    judged = [(f"q{i}", f"d{i}", 1) for i in range(COUNT)]
    beir.write(folder, corpus=corpus, queries=queries, qrels=[row for i, row in enumerate(judged) if i not in dev])
    if dev:
        beir.write(folder, corpus=corpus, queries=queries, qrels=[judged[i] for i in dev], split="dev")
    return folder


def tokens(texts, side):
    return Tokens.pack([([1], [True], [True])] * len(texts))


def data(source, home, mining, **options):
    found = RetrievalData(source, LoaderOptions(8, 3, workers=0, **options), home=home, seed=1, mining=mining)
    found.setup()
    found.assemble = partial(contrast, tokenize=tokens)
    return found


@pytest.mark.parametrize("own", [False, True], ids=["held out", "a split of the source"])
def test_nothing_relevant_in_development_is_trained_on(tmp_path, own):
    dev = (3, 11, 27) if own else ()
    source = Beir(str(collection(tmp_path / "col", dev=dev)), dev_split="dev" if own else None)
    mining = HardNegatives(Bm25Miner(Bm25()), range_min=0, range_max=COUNT, num_negatives=COUNT)
    mined = data(source, tmp_path, mining, dev_size=6)
    held = relevant_keys(mined.dev)
    assert len(held) == (3 if own else 6)
    everywhere = {key for row in mined.rows.select(mined.split.train) for key in row["neg_keys"]}
    assert held <= everywhere  # mining itself found them
    trained = {key for batch in mined.train_dataloader() for key in batch.relation.key_N.tolist()}
    assert len(trained) == COUNT - len(held)
    assert not trained & held


def test_mining_leaves_split_and_development_task_as_they_are(tmp_path):
    source = Beir(str(collection(tmp_path / "col")))
    plain = data(source, tmp_path, None, dev_size=6)
    mined = data(source, tmp_path, HardNegatives(Bm25Miner(Bm25()), range_min=0, range_max=9), dev_size=6)
    assert mined.folder != plain.folder
    assert np.array_equal(mined.split.train, plain.split.train)
    assert mined.dev == plain.dev
    assert mined.has_negatives
    assert not plain.has_negatives
    assert mined.rows["query_id"][:] == plain.rows["query_id"][:] == read(prepare(source, tmp_path))["query_id"][:]


def test_the_command_mines_what_training_takes(home):
    from tests.running import resumes_unless, run

    options = ("data=demo", "mining=bm25", "mining.range_min=2", "mining.range_max=30", "mining.replace_own=true")
    done = run("mine", *options, home=home)
    assert done.status == 0, done.err
    for part in ("Negatives per query", "known to be relevant", "excluded by the data", "in the window", "median"):
        assert part in done.out
    (folder,) = re.findall(r"(\S+/demo-bm25-\w+) is complete", done.err)
    manifest = read_manifest(Path(folder))
    assert manifest["counts"]["negatives"] == manifest["mining"]["negatives"] > 2000
    again = run("mine", *options, home=home)
    assert "is up to date" in again.err
    assert again.out == done.out
    assert run("prepare", *options, home=home).status == 0
    short = ("trainer.max_steps=1", "loader.batch_size=4", "loader.workers=0", "evaluation.baselines=[]")
    trained = run("train", "experiment=demo_tiny", *options, *short, home=home)
    assert trained.status == 0, trained.err
    assert f"Prepared set {folder} is up to date" in trained.err
    resumes_unless(trained.folder, "mining.num_negatives=2", home=home, steps=2)
    by_model = ("mining=model", "mining.relative_margin=null", "hardware=cpu")
    by_run = run("mine", "data=demo", *by_model, f"run={trained.folder}", home=home)
    assert by_run.status == 0, by_run.err
    (second,) = re.findall(r"(\S+/demo-model-\w+) is complete", by_run.err)
    ready = run("prepare", "data=prepared", f"data.path={second}", home=home)
    assert "is complete: 560 queries" in ready.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("mining=model",), ["mining=model has no model to search with", "run=outputs/<run>"]),
        (("mining=none",), ["mining=none mines nothing"]),
        (("mining=bm52",), ["mining=bm52", "did you mean 'bm25'"]),
        (("mining.range_mni=2",), ["mining.range_mni", "did you mean 'range_min'"]),
        (("mining.range_min=30", "mining.range_max=10"), ["mining.range_max=10: give more than range_min=30"]),
        (
            (
                "mining.num_negatives=0",
                "mining.relative_margin=1.5",
                "mining.absolute_margin=-1",
                "mining.positive=best",
            ),
            [
                "4 mistakes",
                "mining.num_negatives=0",
                "mining.relative_margin=1.5",
                "mining.absolute_margin=-1",
                "mining.positive=best",
            ],
        ),
        (("mining.sampling=last",), ["mining.sampling=last: choose first or random"]),
        (
            (
                "mining.range_min=9000",
                "mining.range_max=9999",
            ),
            ["no negative for any query", "skip fewer (mining.range_min)"],
        ),
        (("mining=model", "model=tiny", "index=faiss"), ["index=", "choose index=exact or index=plaid"]),
        (("mining=model", "run={home}"), ["is no tracked run"]),
        (("data=prepared", "data.path={home}"), ["isn't a prepared set"]),
    ],
)
def test_what_users_get_wrong(home, arguments, expected):
    from tests.running import run

    given = [word.format(home=home) for word in arguments]
    done = run("mine", *([] if arguments[0].startswith("data=") else ["data=demo"]), *given, home=home)
    assert done.status == 2
    assert "Traceback" not in done.err
    for part in expected:
        assert part in done.err, done.err
