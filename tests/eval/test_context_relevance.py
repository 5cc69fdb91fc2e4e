"""The benchmark from a command, its references, and the data of its plot."""

import csv
import json
import logging

import numpy as np
import pytest

from reasonir.errors import InputError
from reasonir.eval.base import EvaluatedSystem
from reasonir.eval.context_relevance import ContextRelevanceBenchmark, _ndcg
from reasonir.eval.reranking import reranking
from reasonir.eval.stats.pruning_metrics import Sentences
from reasonir.eval.stats.ranking_metrics import per_query
from reasonir.model.span_scoring import score_spans
from reasonir.types import Pair, Text
from tests.helpers import load
from tests.rows import write_rows
from tests.running import run


@pytest.fixture(scope="module")
def pruned(bert, tmp_path_factory):
    """The benchmark, an untrained pruner as system, its metrics and the folder."""
    folder = tmp_path_factory.mktemp("pruned")
    benchmark = ContextRelevanceBenchmark(str(write_rows(folder / "set.jsonl", 12)))
    (task,) = benchmark.tasks()
    encoder = load(bert, "provence").eval()
    rank = reranking(encoder, lambda task: {})
    system = EvaluatedSystem("untrained", {"set": rank(task)}, rank, encoder)
    return benchmark, system, benchmark.analyse(system, folder)["set"], folder


def test_metrics_follow_from_the_probability_of_every_sentence(pruned):
    benchmark, system, metrics, folder = pruned
    rows = benchmark._rows("set")
    pairs = [Pair(Text(row.query), Text(d.text), d.spans) for row in rows for d in row.documents]
    keep = np.array([value for spans in score_spans(system.encoder, pairs) for value in spans.keep])
    assert len(keep) == 12 * 6
    for threshold in benchmark.thresholds:
        kept = keep > threshold
        assert metrics.figures[f"compression_at_{threshold:g}"] == pytest.approx(
            np.mean(
                [
                    1
                    - sum(end - start for (start, end), k in zip(pair.spans, part, strict=True) if k)
                    / sum(end - start for start, end in pair.spans)
                    for pair, part in zip(
                        pairs, np.split(kept, np.cumsum([len(pair.spans) for pair in pairs])[:-1]), strict=True
                    )
                ]
            )
        )
    table = json.loads((folder / "set.untrained.json").read_text())
    assert list(table) == ["0.05", "0.1", "0.3", "0.5", "chosen"]
    for systems in table.values():
        assert systems["everything"]["recall"] == 1
        assert systems["everything"]["compression"] == pytest.approx(0)
        assert systems["nothing"]["compression"] == 1
        for other in ("bm25", "random"):
            assert systems[other]["compression"] == pytest.approx(systems["model"]["compression"], abs=0.05)
    assert (folder / "set.untrained.png").stat().st_size > 1000
    import pyarrow.parquet as pq

    stored = pq.read_table(folder / "set.untrained.parquet").to_pylist()
    assert [row["probability"] for row in stored] == pytest.approx(keep.tolist())
    assert sum(row["relevant"] for row in stored) == 12


def test_the_curve_goes_from_few_tokens_to_all(pruned):
    benchmark, system, _, folder = pruned
    rows = benchmark._rows("set")
    with (folder / "set.untrained.curve.csv").open(newline="") as stream:
        points = [
            (row.pop("kept_by"), {key: float(value) for key, value in row.items()}) for row in csv.DictReader(stream)
        ]
    by = {name: [point for other, point in points if other == name] for name, _ in points}
    assert set(by) == {"untrained", "bm25", "random"}
    qrels = {row.query_id: {d.doc_id: int(d.label > 0) for d in row.documents} for row in rows}
    whole = np.mean([row["ndcg_at_10"] for row in per_query(system.runs["set"], qrels).values()])
    for curve in by.values():
        assert [point["tokens"] for point in curve] == sorted(point["tokens"] for point in curve)
        assert curve[-1] == pytest.approx({"tokens": 1, "characters": 1, "recall": 1, "ndcg_at_10": whole})
        assert curve[0]["tokens"] < 0.3
    tokenizer = system.encoder.head.tokenizer
    document = rows[0].documents[0]
    (spans,) = score_spans(system.encoder, [Pair(Text(rows[0].query), Text(document.text), document.spans)])
    alone = [len(tokenizer.offsets(Text(document.text[start:end]))) for start, end in document.spans]
    assert spans.tokens == tuple(alone)


def test_a_text_that_lost_every_sentence_leaves_the_ranking(pruned):
    benchmark, system, _, _ = pruned
    rows = benchmark._rows("set")
    sentences = Sentences.of(rows)
    run = system.runs["set"]
    everything = np.ones(len(sentences.text_S), dtype=bool)
    qrels = {row.query_id: {d.doc_id: int(d.label > 0) for d in row.documents} for row in rows}
    whole = np.mean([row["ndcg_at_10"] for row in per_query(run, qrels).values()])
    assert _ndcg(rows, sentences, everything, run) == pytest.approx(whole)
    assert _ndcg(rows, sentences, ~everything, run) == 0
    assert _ndcg(rows, sentences, sentences.relevant_S, run) == 1


def test_systems_that_do_not_prune_have_no_further_metrics(pruned):
    benchmark, system, _, folder = pruned
    assert benchmark.analyse(EvaluatedSystem("bm25", system.runs, system.rank, None), folder) == {}


@pytest.mark.parametrize(("reference", "loud"), [(0.0, True), (None, False)])
def test_a_trained_model_is_compared_with_its_reference(pruned, tmp_path, caplog, reference, loud):
    _, system, metrics, _ = pruned
    value = metrics.figures["recall_at_0.1"] if reference is None else reference
    path = str(write_rows(tmp_path / "set.jsonl", 12))
    with caplog.at_level(logging.INFO):
        again = ContextRelevanceBenchmark(path, reference={"set": {"recall": value}})
        again.analyse(EvaluatedSystem("trained", system.runs, system.rank, system.encoder), tmp_path)
    assert ("Far from the reference: set: recall" in caplog.text) == loud
    assert ("Close to the reference" in caplog.text) != loud


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds": []}, "thresholds.*: give "),
        ({"thresholds": [1.0]}, "thresholds.*: give "),
        ({"reference": {"other": {}}}, "reference.other: no such set is evaluated; there are x"),
        ({"reference": {"x": {"f1": 1.0}}}, r"reference.x.f1 is unknown \(did you mean 'f2'\?\): choose f2, precision"),
        ({"reference": {"x": {"f2": 1.0}}, "reference_threshold": 0.2}, "reference_threshold=0.2 isn't among"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ContextRelevanceBenchmark("x", **options)


def test_sets_and_subsets_are_separate_tasks(tmp_path, hub):
    write_rows(tmp_path / "a" / "freq2" / "test.jsonl", 3)
    write_rows(tmp_path / "b" / "test.jsonl", 5)
    hub(tmp_path / "a", "someone/a", kind="dataset")
    found = list(ContextRelevanceBenchmark(["someone/a:freq2", str(tmp_path / "b")], rows=4).tasks())
    assert [(task.name, len(task.queries)) for task in found] == [("a-freq2", 3), ("b", 4)]


def test_a_pruner_trains_and_a_second_evaluation_agrees(home, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", 24, teacher="big/one")
    small = (
        f"data.path={path}",
        f"eval.path={path}",
        "model=tiny",
        "logger=csv",
        "loss.ranking.target=big/one",
        "loss.average=document",
        "loader.workers=0",
        "loader.dev_size=4",
        "trainer.max_epochs=1",
    )
    done = run("train", "experiment=provence_toy", "model/head=provence", *small, home=home)
    assert done.status == 0, done.err
    results = json.loads((done.folder / "results.json").read_text())["results"]["rows"]
    assert set(results) == {"random", "bm25", "untrained", "trained"}
    assert 0 < results["trained"]["span_accuracy_at_0.5"] <= 1
    assert "Pruning of rows by the trained model" in done.err + done.out
    assert (done.folder / "analysis" / "rows.trained.png").is_file()
    assert (done.folder / "model" / "pruning_head.safetensors").is_file()
    curves = (done.folder / "metrics.csv").read_text()
    assert "train/pruning" in curves
    assert "train/ranking" in curves
    given = ("eval=context_relevance", f"eval.path={path}", "hardware=cpu", "logger=csv", "evaluation.baselines=[]")
    again = run("evaluate", f"run={done.folder}", *given, home=home)
    assert again.status == 0, again.err
    trained = json.loads((again.folder / "results.json").read_text())["results"]["rows"]["trained"]
    assert trained == pytest.approx(results["trained"], abs=1e-5)


def test_sets_of_one_name_are_refused(tmp_path):
    paths = []
    for name in "ab":
        (tmp_path / name).mkdir()
        paths.append(str(write_rows(tmp_path / name / "set.jsonl", 3)))
    with pytest.raises(InputError, match="two sets have one name"):
        ContextRelevanceBenchmark(paths)
    assert [task.name for task in ContextRelevanceBenchmark(paths[:1]).tasks()] == ["set"]
