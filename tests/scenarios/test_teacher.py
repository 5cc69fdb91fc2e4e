"""Teachers inside commands: a set is scored once, then trained on by losses with a target, resumed and evaluated."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from reasonir.cli.check import problems
from reasonir.data.beir import Beir
from reasonir.data.prepared import example_of, read, read_manifest
from reasonir.inference.reranker import Reranker
from reasonir.training.datamodule import RetrievalData
from reasonir.training.options import LoaderOptions
from reasonir.utils.state import read_json
from tests.data.test_documents import written
from tests.rows import write_rows
from tests.running import resumes_unless, run
from tests.scenarios.test_mining import collection
from tests.teacher.test_reranker import teacher

TEACHER = ("teacher=reranker", "model@teacher.model=tiny_reranker", "hardware=cpu")
MINING = ("mining=bm25", "mining.range_min=0", "mining.range_max=9", "mining.num_negatives=2")
SHORT = ("trainer.max_steps=2", "loader.batch_size=4", "loader.workers=0", "evaluation.baselines=[]", "logger=csv")


def complete(done):
    """The folder that a preparing command logs as complete."""
    assert done.status == 0, done.err
    (folder,) = re.findall(r"(\S+) is complete", done.err)
    return Path(folder)


@pytest.fixture(scope="module")
def reranker_run(home):
    """A run that trained a reranker."""
    options = ("model=tiny_reranker", "loss=bce", "data=demo", "data.variants=1", "eval=demo", "hardware=cpu")
    done = run("train", *options, *SHORT, "evaluation.rerank_depth=3", "loader.dev_size=4", home=home)
    assert done.status == 0, done.err
    return done.folder


def test_a_set_with_teacher_scores_is_prepared_trained_on_resumed_and_evaluated(home, tmp_path):
    given = ("data=documents", f"data.path={written(tmp_path, 30)}", *MINING, *TEACHER)
    prepared = run("prepare", *given, home=home)
    folder = complete(prepared)
    assert "-bm25-reranker-" in folder.name
    assert "Teacher reranker: mean score" in prepared.err
    manifest = read_manifest(folder)
    assert manifest["teacher"]["queries_with_negatives"] == manifest["counts"]["queries"]
    options = ("experiment=demo_tiny", *given, *SHORT, "loss=kl", "loss.target=reranker", "eval=test_split")
    trained = run("train", *options, home=home)
    assert trained.status == 0, trained.err
    assert f"Prepared set {folder} is up to date" in trained.err
    assert read_json(trained.folder / "model" / "training_data.json", remedy="") == manifest
    resumes_unless(trained.folder, "teacher.scale=probability", home=home, steps=3)
    second = run(
        "prepare",
        "data=prepared",
        f"data.path={folder}",
        *TEACHER,
        "teacher.name=second",
        "teacher.block=500",
        home=home,
    )
    assert {"teacher.reranker", "teacher.second"} <= set(read(complete(second)).column_names)


def test_teaching_leaves_split_and_development_task_as_they_are(decoder, tmp_path):
    source = Beir(str(collection(tmp_path / "col")))
    found = [
        RetrievalData(source, LoaderOptions(8, 3, workers=0, dev_size=6), home=tmp_path, seed=1, teacher=stage)
        for stage in (None, teacher(decoder))
    ]
    for data in found:
        data.setup()
    plain, taught = found
    assert taught.folder != plain.folder
    assert np.array_equal(taught.split.train, plain.split.train)
    assert taught.dev == plain.dev
    assert set(taught.rows.column_names) - set(plain.rows.column_names) == {"teacher.reranker"}
    assert taught.rows["query_id"][:] == plain.rows["query_id"][:]


def test_a_runs_own_reranker_teaches(home, reranker_run):
    data = ("data=demo", "data.variants=1", "hardware=cpu", "teacher.scale=probability")
    folder = complete(run("prepare", *data, "teacher=reranker", f"teacher.run={reranker_run}", home=home))
    (example, *_) = map(example_of, read(folder))
    expected = Reranker.load(reranker_run).score(example.query, [document.text for document in example.documents])
    found = [document.teachers["reranker"] for document in example.documents]
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_pruner_learns_the_probabilities_of_another(home, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", 12)
    by = ("teacher=reranker", "model@teacher.model=tiny", "model/head@teacher.model.head=provence")
    given = (f"data.path={path}", f"eval.path={path}", "model=tiny", "model/head=provence", "loader.dev_size=2")
    options = ("teacher.scale=probability", "loss.ranking.target=reranker")
    done = run("train", "experiment=provence_toy", *given, *by, *options, *SHORT, home=home)
    assert done.status == 0, done.err
    assert "train/ranking" in (done.folder / "metrics.csv").read_text()


def test_a_reranker_learns_the_probabilities_of_a_runs_own(home, reranker_run):
    options = ("model=tiny_reranker", "loss=bce", "loss.target=big", "data=demo", "data.variants=1", "eval=demo")
    by = ("teacher=reranker", f"teacher.run={reranker_run}", "teacher.name=big", "teacher.scale=probability")
    done = run("train", *options, *by, *SHORT, "evaluation.rerank_depth=3", "hardware=cpu", home=home)
    assert done.status == 0, done.err
    assert json.loads((done.folder / "data.json").read_text())["teacher"]["name"] == "big"


def test_a_dry_run_scores_nothing(tmp_path):
    options = ("experiment=demo_tiny", "data.variants=1", *TEACHER, "loss=kl", "loss.target=reranker", "dry_run=true")
    done = run("train", *options, home=tmp_path)
    assert done.status == 0, done.err
    assert not [folder for folder in (tmp_path / "data").iterdir() if "reranker" in folder.name]


def test_a_teachers_model_is_composed_like_any_other(composed):
    by = ("teacher=reranker", "model@teacher.model=gte_reranker", "model/head@teacher.model.head=cross_encoder")
    config = composed("train", *by, "hardware=t4", "teacher.model.head.max_length=256")
    assert problems(config) == []
    assert config.teacher.model.path == "Alibaba-NLP/gte-reranker-modernbert-base"
    assert config.model.path == "Qwen/Qwen3-Embedding-0.6B"
    assert config.teacher.model.attention == config.hardware.attention
    assert composed("train", "teacher=reranker").teacher.model.lora.rank == 0


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ("prepare", (*TEACHER[:1], "model@teacher.model=tiny"), ["teacher.model.path=", "has the head of a retriever"]),
        (
            "prepare",
            (*TEACHER, "teacher.scale=x", "teacher.blok=2"),
            ["2 mistakes", "teacher.scale=x", "did you mean 'block'"],
        ),
        ("prepare", (*TEACHER, "teacher.run={home}"), ["is no tracked run"]),
        (
            "train",
            (*TEACHER, "loss=kl"),
            ["teacher.name=reranker: the loss doesn't read its scores", "loss.target=reranker"],
        ),
    ],
)
def test_what_users_get_wrong(tmp_path, command, arguments, expected):
    demo = ("experiment=demo_tiny",) if command == "train" else ("data=demo",)
    done = run(command, *demo, *(word.format(home=tmp_path) for word in arguments), home=tmp_path)
    assert done.status == 2
    assert "Traceback" not in done.err
    for part in expected:
        assert part in done.err, done.err
    assert not (tmp_path / "data").exists()


def test_a_retriever_of_a_run_is_refused_before_anything_is_read(tmp_path):
    trained = run("train", "experiment=demo_tiny", "data.variants=1", *SHORT, "loader.dev_size=4", home=tmp_path)
    assert trained.status == 0, trained.err
    done = run(
        "prepare",
        "data=triplets",
        "data.path=nowhere",
        "teacher=reranker",
        f"teacher.run={trained.folder}",
        home=tmp_path,
    )
    assert done.status == 2
    assert f"mistake in Reranking:\n  - run={trained.folder} has the head of a retriever" in done.err
