"""The benchmark from commands: rows of both systems, metrics reported with nDCG, heads it can't evaluate."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from reasonir.cli.check import problems
from reasonir.errors import InputError
from reasonir.eval.geometry import Geometry, _ndcg, _overlap, _prefixes
from reasonir.index.quantised import Ranking
from tests.helpers import HEADS, SENTENCES
from tests.running import run

ROWS = ["untrained", "untrained + whitening", "trained", "trained + whitening"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """300 documents, 40 queries."""
    folder = tmp_path_factory.mktemp("geometry") / "small"
    (folder / "qrels").mkdir(parents=True)
    texts = [f"{SENTENCES[i % 12]} {i} {SENTENCES[i * 7 % 11]}" for i in range(300)]
    lines = [json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    asked = [json.dumps({"_id": f"q{i}", "text": f"why is it that {texts[i * 7]}"}) for i in range(40)]
    (folder / "queries.jsonl").write_text("\n".join(asked))
    for split in ("train", "test"):
        qrels = [f"q{i}\td{i * 7}\t1" for i in range(40)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *qrels]))
    return folder


@pytest.mark.parametrize("experiment", ["gaussian_toy", "gaussian_ragcun"])
def test_an_experiment_is_evaluated_and_a_second_evaluation_agrees(collection, home, experiment):
    small = ("model=tiny", "model/head=gaussian", "logger=csv", "loader.workers=0", "loader.batch_size=16")
    frozen = ("model.freeze_layers=1",) if experiment == "gaussian_ragcun" else ()
    paths = (f"data.path={collection}", f"eval.path={collection}")
    done = run("train", f"experiment={experiment}", *paths, *small, *frozen, "trainer.max_steps=2", home=home)
    assert done.status == 0, done.err
    folder = done.folder / "analysis"
    with (folder / "geometry.csv").open() as stream:
        rows = {row["row"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ROWS
    results = json.loads((done.folder / "results.json").read_text())["results"]["small"]
    assert "mean_cosine" not in results["bm25"]
    for system in ("untrained", "trained"):
        found = results[system]
        assert found["ndcg_at_10_float32"] == pytest.approx(found["ndcg_at_10"], abs=1e-6)
        assert 0 < found["whitened_ndcg_at_10_binary"] <= 1
        assert found["mean_cosine"] == pytest.approx(float(rows[system]["mean_cosine"]))
        assert found["whitened_hnsw64_recall"] == float(rows[f"{system} + whitening"]["hnsw64_recall"])
        assert found["whitened_norm_variation"] == pytest.approx(0, abs=1e-6)
    table = re.sub(" +", " ", (folder / "geometry.md").read_text())
    assert all(f"| {row} |" in table for row in ROWS)
    assert (folder / "geometry.png").stat().st_size > 1000
    given = ("eval=geometry", f"eval.path={collection}", "hardware=cpu", "logger=csv", "evaluation.baselines=[]")
    again = run("evaluate", f"run={done.folder}", *given, home=home)
    assert again.status == 0, again.err
    trained = json.loads((again.folder / "results.json").read_text())["results"]["small"]["trained"]
    assert trained == pytest.approx(results["trained"], abs=1e-4)


def test_a_document_with_a_querys_id_takes_no_rank(collection, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(collection, folder)
    with (folder / "corpus.jsonl").open("a") as stream:
        stream.write("\n" + json.dumps({"_id": "q0", "title": "", "text": "its own text"}))
    (task,) = Geometry(str(folder)).tasks()
    positions = [[task.corpus.ids.index(f"{'q' if n == 0 else 'd'}{n}"), n * 7] for n in range(len(task.queries))]
    hits = Ranking(np.tile([2.0, 1.0], (len(positions), 1)), np.array(positions))
    second = _ndcg(replace(task, excluded={}), hits)
    assert _ndcg(task, hits) == pytest.approx(second + (1 - 1 / np.log2(3)) / len(positions))


@pytest.mark.parametrize("head", ["colbert", "splade", "yes_no"])
def test_other_heads_are_refused_before_anything_is_loaded(composed, head):
    fault = Geometry.incompatibility(HEADS[head])
    assert fault is not None
    assert "choose model/head=biencoder or gaussian, or eval=beir" in fault
    loss = ["loss=bce"] if head == "yes_no" else []
    assert problems(composed("train", f"model/head={head}", "eval=geometry", "eval.path=x", *loss)) == [fault]


def test_a_run_with_many_vectors_is_refused_too(collection, home):
    small = ("model=tiny", "model/head=colbert", "data=beir", f"data.path={collection}", "logger=csv", "hardware=cpu")
    done = run("train", *small, "eval=beir", f"eval.path={collection}", "trainer.max_steps=1", home=home)
    assert done.status == 0, done.err
    evaluation = run("evaluate", f"run={done.folder}", "eval=geometry", f"eval.path={collection}", home=home)
    assert evaluation.status != 0
    assert "eval=geometry needs one vector per text, ColBERT gives many vectors per text" in evaluation.err


def test_a_collection_with_too_few_documents_is_refused(collection, tmp_path):
    few = tmp_path / "few"
    (few / "qrels").mkdir(parents=True)
    lines = (collection / "corpus.jsonl").read_text().splitlines()[:10]
    (few / "corpus.jsonl").write_text("\n".join(lines))
    (few / "queries.jsonl").write_text('{"_id": "q0", "text": "why"}')
    (few / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1")
    with pytest.raises(InputError, match="has 10 documents, too few for vector-space metrics"):
        list(Geometry(str(few)).tasks())


def test_prefixes_and_overlap():
    assert _prefixes(384) == [64, 128, 256]
    assert _prefixes(64) == []
    assert _overlap(np.array([[0, 1], [5, -1]]), np.array([[1, 0], [6, 5]])) == 0.75
