import json
import shutil

import pytest

from reasonir.data.base import Collection
from reasonir.data.beir import Beir, read_task
from reasonir.errors import InputError

CORPUS = [
    {"_id": "d1", "title": "Salt", "text": "lowers the freezing point"},
    {"_id": "d 2", "title": "", "text": "water expands"},
    {"_id": "d3", "text": "ice floats"},
]
QUERIES = [{"_id": "q1", "text": "why salt roads"}, {"_id": "q2", "text": "why do pipes burst"}]
QRELS = [("q1", "d1", 1), ("q2", "d 2", 2), ("q2", "d3", 0)]


def write(folder, *, corpus=CORPUS, queries=QUERIES, qrels=QRELS, split="train"):
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in qrels)]
    (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_task_is_the_whole_corpus_and_the_queries_with_qrels(tmp_path):
    task = read_task(str(write(tmp_path / "col")), "train")
    assert task.name == "col"
    assert list(task.corpus.ids) == ["d1", "d 2", "d3"]
    assert task.corpus.texts[0] == "Salt lowers the freezing point"
    assert task.qrels == {"q1": {"d1": 1}, "q2": {"d 2": 2, "d3": 0}}
    assert task.queries["q2"].text == "why do pipes burst"


def test_examples_take_scores_above_zero_as_positives(tmp_path):
    source = Beir(str(write(tmp_path / "col")))
    first, second = source.examples()
    assert [document.doc_id for document in second.positives] == ["d 2"]
    assert [document.doc_id for document in second.negatives] == ["d3"]
    assert second.positives[0].label == 2.0
    assert first.query == "why salt roads"
    assert source.name == "col-train"
    assert source.dev() is None


def test_the_identity_depends_on_the_files_not_on_their_folder(tmp_path):
    write(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert Beir(str(tmp_path / "a")).identity() == Beir(str(tmp_path / "b")).identity()
    write(tmp_path / "b", qrels=QRELS[:2])
    assert Beir(str(tmp_path / "a")).identity() != Beir(str(tmp_path / "b")).identity()


def test_a_development_split_of_the_source_is_its_task(tmp_path):
    write(tmp_path / "col")
    write(tmp_path / "col", split="dev", qrels=QRELS[:1])
    task = Beir(str(tmp_path / "col"), dev_split="dev").dev()
    assert list(task.queries) == ["q1"]


def test_a_repository_on_the_hub_is_found_in_its_cache_parquet_or_not(tmp_path, hub):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "files"
    for name, rows in (("corpus", CORPUS), ("queries", QUERIES)):
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / name / f"{name}-00000-of-00001.parquet")
    (folder / "data").mkdir()
    judged = [dict(zip(("query-id", "corpus-id", "score"), row, strict=True)) for row in QRELS]
    pq.write_table(pa.Table.from_pylist(judged), folder / "data" / "test-00000-of-00001.parquet")
    hub(folder, "someone/col", kind="dataset")
    task = read_task("someone/col", "test")
    assert (task.name, len(task.corpus), len(task.queries)) == ("col", 3, 2)

    hub(write(tmp_path / "texts"), "BeIR/other", kind="dataset")
    (tmp_path / "texts" / "qrels" / "train.tsv").rename(tmp_path / "train.tsv")
    judgements = tmp_path / "judgements"
    judgements.mkdir()
    (tmp_path / "train.tsv").rename(judgements / "train.tsv")
    hub(judgements, "BeIR/other-qrels", kind="dataset")
    assert len(read_task("BeIR/other", "train").queries) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": []}, "corpus.jsonl is empty: a corpus needs at least one document"),
        ({"corpus": [*CORPUS, CORPUS[0]]}, "corpus.jsonl, line 4: duplicate id 'd1'"),
        ({"corpus": [{"_id": "d1", "text": ""}]}, "line 1: 'd1' has no text"),
        ({"qrels": [("q1", "d9", 1)]}, "train.tsv, line 2: document 'd9' isn't in the corpus"),
        ({"qrels": [("q9", "d1", 1)]}, "train.tsv, line 2: query 'q9' isn't among the queries"),
        ({"qrels": [("q1", "d1", "x")]}, "line 2: score is 'x', expected a whole number"),
        ({"qrels": [("q1", "d1", 1), ("q2", "d3", 0)]}, "line 3: query 'q2' has no relevant document"),
        ({"qrels": []}, "train.tsv has no qrels"),
    ],
)
def test_inconsistent_files_are_named_with_the_location(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_task(str(write(tmp_path / "col", **change)), "train")


def test_missing_parts_are_named(tmp_path):
    write(tmp_path / "col")
    with pytest.raises(InputError, match=r"eval.split=test.*choose one of train"):
        read_task(str(tmp_path / "col"), "test", key="eval")
    with pytest.raises(InputError, match=r"data.path=.*none doesn't exist"):
        read_task(str(tmp_path / "none"), "train")
    with pytest.raises(InputError, match=r"data.path=nobody/nothing is no file or folder here, isn't in the hub cache"):
        read_task("nobody/nothing", "train")
    (tmp_path / "col" / "queries.jsonl").unlink()
    with pytest.raises(InputError, match=r"has no queries.jsonl"):
        read_task(str(tmp_path / "col"), "train")
    with pytest.raises(InputError, match=r"is a file: a BEIR collection is a folder"):
        read_task(str(tmp_path / "col" / "corpus.jsonl"), "train")


def test_the_collection_is_the_whole_corpus_with_or_without_qrels(tmp_path):
    source = Beir(str(write(tmp_path / "col", qrels=QRELS[:1])))
    assert isinstance(source, Collection)
    assert [(document.doc_id, document.text) for document in source.collection()] == [
        ("d1", "Salt lowers the freezing point"),
        ("d 2", "water expands"),
        ("d3", "ice floats"),
    ]
