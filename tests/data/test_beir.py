import json
import shutil

import pytest

from reasonir.data.base import Collection, Rejected, copy_key
from reasonir.data.beir import Beir, read_task
from reasonir.data.prepared import Report
from reasonir.errors import InputError
from reasonir.eval.results import Results
from reasonir.eval.systems import evaluate_systems, search_system
from reasonir.index.bm25 import Bm25
from reasonir.types import Example

CORPUS = [
    {"_id": "d1", "title": "Salt", "text": "lowers the freezing point"},
    {"_id": "d 2", "title": "", "text": "water expands"},
    {"_id": "d3", "text": "ice floats"},
]
QUERIES = [{"_id": "q1", "text": "why salt roads"}, {"_id": "q2", "text": "why do pipes burst"}]
COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of the fixture's repositories
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


def test_a_negative_score_is_that_of_a_negative(tmp_path):
    rows = [("q1", "d1", 1), ("q1", "d3", -2)]
    (example,) = Beir(str(write(tmp_path / "col", qrels=rows))).examples()
    assert [(document.doc_id, document.label) for document in example.negatives] == [("d3", 0.0)]


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
    qrels = tmp_path / "hub" / "datasets--BeIR--other-qrels"
    (qrels / "snapshots" / COMMIT).rename(qrels / "snapshots" / ("f" * 40))
    (qrels / "refs" / "main").write_text("f" * 40)
    assert len(read_task("BeIR/other", "train", revision=COMMIT).queries) == 2  # a commit of the texts alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": []}, "corpus.jsonl has no document with a text"),
        ({"corpus": [{"_id": "d1", "text": " "}]}, "corpus.jsonl has no document with a text"),
        ({"corpus": [*CORPUS, {"_id": "d1", "text": "other"}]}, "corpus.jsonl, line 4: id 'd1' has a second text"),
        ({"qrels": [("q1", "d9", 1)]}, "train.tsv has no qrels of .*left out: 1 judgements of missing documents"),
        ({"qrels": [("q1", "d1", "x")]}, "line 2: score is 'x', expected a whole number"),
        ({"qrels": [("q1", "d1", 0.5)]}, "line 2: score is '0.5', expected a whole number"),
        ({"qrels": [("q1", "d1", 1), ("q1", "d1", 2)]}, "line 3: query 'q1' and document 'd1' have the scores 1 and 2"),
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


FAULTY = {
    "corpus": [*CORPUS, {"_id": "empty", "title": "", "text": " "}],
    "queries": [*QUERIES, {"_id": "q3", "text": "who"}, {"_id": "mute", "text": ""}],
    "qrels": [
        *QRELS,
        QRELS[0],  # a repeated row
        ("q1", "d9", 1),
        ("q1", "empty", 1),
        ("q9", "d1", 1),
        ("mute", "d1", 1),
        ("q3", "d1", 0),
    ],
}
COUNTS = (
    "1 documents without text, 1 queries without text, 2 judgements of missing documents, "
    "2 judgements of missing queries, 1 queries without a relevant document"
)


def test_what_cannot_be_evaluated_is_left_out_counted_and_logged(tmp_path, caplog):
    caplog.set_level("INFO")
    task = read_task(str(write(tmp_path / "col", **FAULTY)), "train")
    assert task.qrels == {"q1": {"d1": 1}, "q2": {"d 2": 2, "d3": 0}}
    assert list(task.queries) == ["q1", "q2"]
    assert list(task.corpus.ids) == ["d1", "d 2", "d3"]
    assert task.protocol["left out"] == COUNTS
    assert "Left out: 2 judgements of missing documents, for instance" in caplog.text
    assert read_task(str(write(tmp_path / "clean")), "train").protocol["left out"] == "nothing"


def test_training_leaves_out_the_same_and_reports_it(tmp_path):
    items = list(Beir(str(write(tmp_path / "col", **FAULTY))).examples())
    assert [item.query_id for item in items if isinstance(item, Example)] == ["q1", "q2"]
    assert ", ".join(Report.of(item for item in items if isinstance(item, Rejected)).lines()) == COUNTS


def test_strict_refuses_all_of_it_in_one_block(tmp_path):
    path = str(write(tmp_path / "col", **FAULTY))
    for refused in (lambda: read_task(path, "train", strict=True), lambda: list(Beir(path, strict=True).examples())):
        with pytest.raises(InputError, match=r"5 faults in data\.path") as error:
            refused()
        assert f"{tmp_path}/col/qrels/train.tsv, line 6: d9" in str(error.value)
    assert len(read_task(str(write(tmp_path / "clean")), "train", strict=True).queries) == 2


ARGUMENTS = {
    "corpus": [*CORPUS, {"_id": "q1", "text": "why salt roads"}, {"_id": "q2", "text": "by chance"}],
    "qrels": [*QRELS, ("q2", "q2", 1)],
}


def test_a_document_with_a_querys_id_is_not_ranked_for_it_unless_relevant(tmp_path):
    path = str(write(tmp_path / "col", **ARGUMENTS))
    task = read_task(path, "train")
    assert task.excluded == {"q1": frozenset({"q1"})}
    assert task.protocol["documents with a query's id"] == "not ranked for it (1)"
    results = evaluate_systems([task], {"bm25": search_system(Bm25(), depth=10)}, Results())
    assert results.values["col"]["bm25"]["q1"]["mrr"] == 1.0
    ranked = read_task(path, "train", ignore_identical_ids=False)
    assert not ranked.excluded
    assert ranked.protocol["documents with a query's id"] == "ranked"
    results = evaluate_systems([ranked], {"bm25": search_system(Bm25(), depth=10)}, Results())
    assert results.values["col"]["bm25"]["q1"]["mrr"] == 0.5


def test_a_querys_own_document_is_never_its_mined_negative(tmp_path):
    path = str(write(tmp_path / "col", **ARGUMENTS))
    assert [example.excluded for example in Beir(path).examples()] == [(copy_key("why salt roads"),), ()]
    assert [example.excluded for example in Beir(path, ignore_identical_ids=False).examples()] == [(), ()]


def _parquet(folder, name, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / name)


def test_configurations_with_a_file_per_split_and_scores_as_floats_are_read(tmp_path):
    folder = tmp_path / "col"
    _parquet(folder, "corpus/test-00000-of-00001.parquet", CORPUS[:2])
    _parquet(folder, "corpus/dev-00000-of-00001.parquet", CORPUS)
    _parquet(folder, "queries/test-00000-of-00001.parquet", QUERIES)
    _parquet(folder, "queries/dev-00000-of-00001.parquet", QUERIES[:1])
    judged = [dict(zip(("query-id", "corpus-id", "score"), (q, d, float(s)), strict=True)) for q, d, s in QRELS]
    _parquet(folder, "qrels/test-00000-of-00001.parquet", judged[:2])
    _parquet(
        folder,
        "qrels/dev-00000-of-00001.parquet",
        [{k: row[k] for k in ("query-id", "corpus-id")} for row in judged[:1]],
    )
    test = read_task(str(folder), "test")
    assert (list(test.corpus.ids), test.qrels) == (["d1", "d 2"], {"q1": {"d1": 1}, "q2": {"d 2": 2}})
    dev = read_task(str(folder), "dev")
    assert (len(dev.corpus), dev.qrels) == (3, {"q1": {"d1": 1}})
    with pytest.raises(InputError, match="corpus has the splits dev, test: choose one of these"):
        read_task(str(folder), "train")


def test_every_published_place_of_qrels_is_read(tmp_path):
    judged = [dict(zip(("query-id", "corpus-id", "score"), row, strict=True)) for row in QRELS]
    for number, place in enumerate(
        ("test.parquet", "default/test-00000-of-00001.parquet", "default/test/0000.parquet")
    ):
        folder = tmp_path / str(number)
        _parquet(folder, "corpus/corpus/0000.parquet", CORPUS)
        _parquet(folder, "queries/queries/0000.parquet", QUERIES)
        _parquet(folder, place, judged)
        assert len(read_task(str(folder), "test").queries) == 2, place
    for place in ("qrels/test.csv", "qrels/TEST.tsv", "data/test.jsonl"):
        folder = write(tmp_path / place)
        shutil.rmtree(folder / "qrels")
        (folder / place).parent.mkdir()
        separator = "," if place.endswith("csv") else "\t"
        lines = [separator.join(map(str, row)) for row in [("query-id", "corpus-id", "score"), *QRELS]]
        (folder / place).write_text("\n".join(map(json.dumps, judged) if place.endswith("jsonl") else lines))
        (folder / f"{place}~").write_text("a copy of an editor")
        assert len(read_task(str(folder), "test").queries) == 2, place


def test_qrels_beside_a_collection_are_read_and_its_splits_named(tmp_path, hub):
    for place in ("local", "files"):
        shutil.move(write(tmp_path / place / "x") / "qrels", tmp_path / place / "x-qrels")
    hub(tmp_path / "files" / "x", "BeIR/x", kind="dataset")
    hub(tmp_path / "files" / "x-qrels", "BeIR/x-qrels", kind="dataset")
    for path in (str(tmp_path / "local" / "x"), f"{tmp_path}/local/x/", "BeIR/x"):
        assert len(read_task(path, "train").queries) == 2
        with pytest.raises(InputError, match=r"data.split=test: .* choose one of train"):
            read_task(path, "test")


def test_a_repository_with_qrels_of_other_splits_needs_no_other_repository(tmp_path, hub):
    hub(write(tmp_path / "files"), "mteb/x", kind="dataset")
    assert list(Beir("mteb/x").tests()) == []
    with pytest.raises(InputError, match=r"eval.split=test: .* choose one of train"):
        read_task("mteb/x", "test", key="eval")
