"""Further metrics of a benchmark are reported; baselines under another protocol aren't reused."""

import json
import shutil
from dataclasses import replace

import pytest

from reasonir.errors import InputError
from reasonir.eval.base import Benchmark
from reasonir.eval.demo import DemoBenchmark
from reasonir.eval.evaluator import Evaluation, EvaluationOptions, read_benchmark
from reasonir.eval.results import ANALYSIS, Difference, ExtraMetrics, Interval
from reasonir.eval.stats.ranking_metrics import mean
from reasonir.index.bm25 import Bm25
from reasonir.types import Corpus, Task, Text
from tests.helpers import SENTENCES, load

TASK = Task(
    "t",
    {f"q{n}": Text(f"{SENTENCES[n]} indeed") for n in range(3)},
    Corpus([f"d{n}" for n in range(6)], SENTENCES[:6]),
    {f"q{n}": {f"d{n}": 1} for n in range(3)},
    candidates={f"q{n}": [f"d{n}", f"d{n + 1}", f"d{n + 2}"] for n in range(3)},
)


class Counting(Benchmark):
    """A benchmark that counts candidates and the systems so far."""

    def tasks(self, *, corpus=True):
        yield TASK

    def analyse(self, system, folder):
        folder.mkdir(exist_ok=True)
        (folder / f"{system.name}.txt").write_text(str(system.encoder is not None))
        assert system.rank(TASK) == system.runs["t"]
        seen = sorted(file.stem for file in folder.iterdir())
        pairs = sum(map(len, system.runs["t"].values()))
        gaps = {other: {"pairs": Difference(0.0, 1.0)} for other in seen if other != system.name}
        return {"t": ExtraMetrics({"pairs": pairs, "seen": len(seen)}, {"pairs": Interval(9.0, 8.0, 10.0)}, gaps)}


def evaluation(folder, benchmark=None):
    benchmark = benchmark or Counting()
    options = EvaluationOptions(baselines=["random", "untrained"], top_k=10)
    return Evaluation([TASK], options, lambda encoder: None, folder, {}, 0, analyse=benchmark.analyse)


def test_further_metrics_are_reported_with_the_ranking_metrics(tmp_path, decoder):
    encoder = load(decoder, "yes_no", max_length=128)
    first = evaluation(tmp_path)
    first.baselines(encoder)
    again = evaluation(tmp_path)  # as in a resumed run: reuses the baselines
    again.baselines(encoder)
    again.evaluate(encoder, "trained")
    found = json.loads((tmp_path / "results.json").read_text())
    assert {name: (values["pairs"], values["seen"]) for name, values in found["results"]["t"].items()} == {
        "random": (9, 1),
        "untrained": (9, 2),
        "trained": (9, 3),
    }
    assert all(values["pairs"]["high"] == 10 for values in found["intervals"]["t"].values())
    assert found["differences"]["t"]["untrained"]["pairs"] == {"delta": 0.0, "p": 1.0}
    assert "ndcg_at_10" in found["differences"]["t"]["untrained"]
    written = {file.stem: file.read_text() for file in (tmp_path / ANALYSIS).iterdir()}
    assert written == {"random": "False", "untrained": "True", "trained": "True"}


def test_chance_for_a_reranker_is_a_random_order_of_what_it_orders(tmp_path):
    task = replace(TASK, candidates={})
    options = EvaluationOptions(baselines=["random", "bm25"], top_k=10, rerank_depth=2)
    found = {}
    for kind, protocol in (("retriever", {}), ("reranker", {"reranked": {"depth": 2}})):
        evaluated = Evaluation([task], options, lambda encoder: None, tmp_path / kind, protocol, 0)
        evaluated.baselines(None)
        found[kind] = evaluated.results.runs["t"]
    first = {query: set(sorted(docs, key=docs.get)[-2:]) for query, docs in found["reranker"]["bm25"].items()}
    assert {query: set(docs) for query, docs in found["reranker"]["random"].items()} == first
    assert all(len(docs) == len(SENTENCES[:6]) for docs in found["retriever"]["random"].values())


def test_two_tasks_of_one_name_are_refused():
    class Twice(Benchmark):
        def tasks(self, *, corpus=True):
            yield from (TASK, replace(TASK, queries={"q1": TASK.queries["q1"]}))

    with pytest.raises(InputError, match="two tasks are named 't'"):
        read_benchmark(Twice())


class Plain(Benchmark):
    """A benchmark without further metrics."""

    def tasks(self, *, corpus=True):
        yield TASK


def test_benchmarks_without_further_metrics_write_no_files(tmp_path):
    evaluated = evaluation(tmp_path, Plain())
    evaluated.baselines(None)
    assert not (tmp_path / ANALYSIS).exists()
    assert evaluated.results.figures()["t"] == {"random": mean(evaluated.results.values["t"]["random"])}


def bm25_results(folder, **options):
    tasks = list(DemoBenchmark().tasks())
    bm25 = Bm25(**options)
    evaluation = Evaluation(tasks, EvaluationOptions(["bm25"], 100, bm25=bm25), lambda _: bm25, folder, {}, 0)
    evaluation.baselines(None)
    return evaluation.results


def test_bm25_is_searched_again_when_its_settings_change(tmp_path, caplog):
    first = bm25_results(tmp_path)
    assert first.protocol["bm25"]["weigh_query"] is False
    with caplog.at_level("INFO"):
        bm25_results(tmp_path)
    assert "Reusing the baselines of" in caplog.text
    again = bm25_results(tmp_path, weigh_query=True, stemmer=None)
    fresh = bm25_results(tmp_path / "fresh", weigh_query=True, stemmer=None)
    (task,) = first.values
    assert again.values == fresh.values
    assert again.values[task] != first.values[task]


def reused(folder, task, caplog):
    """Evaluate the BM25 baseline of a task, and return whether results in the folder were reused."""
    caplog.clear()
    evaluation = Evaluation([task], EvaluationOptions(["bm25"], 100), lambda _: Bm25(), folder, {}, 0)
    with caplog.at_level("INFO"):
        evaluation.baselines(None)
    fresh = Evaluation([task], EvaluationOptions(["bm25"], 100), lambda _: Bm25(), folder / "fresh", {}, 0)
    fresh.baselines(None)
    shutil.rmtree(folder / "fresh")
    assert evaluation.results.values == fresh.results.values
    return "Reusing the baselines of" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda task: {"qrels": {q: dict.fromkeys(list(task.corpus.ids)[:2], 1) for q in task.qrels}},
        lambda task: {
            "qrels": {**task.qrels, "new": {task.corpus.ids[0]: 1}},
            "queries": {**task.queries, "new": Text("x")},
        },
        lambda task: {"queries": {q: Text(text.text, "find it") for q, text in task.queries.items()}},
        lambda task: {"corpus": Corpus(task.corpus.ids, [f"{text} more" for text in task.corpus.texts])},
        lambda task: {"excluded": {}},
        lambda task: {"candidates": {q: list(labels) for q, labels in task.qrels.items()}},
    ],
)
def test_baselines_of_other_content_are_not_reused(tmp_path, caplog, change):
    (task,) = DemoBenchmark().tasks()
    assert not reused(tmp_path, task, caplog)
    assert reused(tmp_path, task, caplog)
    (tmp_path / ANALYSIS).mkdir()
    (tmp_path / ANALYSIS / "demo.old.parquet").touch()
    changed = replace(task, **change(task))
    assert not reused(tmp_path, changed, caplog)
    assert not (tmp_path / ANALYSIS).exists()
    assert reused(tmp_path, changed, caplog)


@pytest.mark.parametrize("name", ["results.json", "per_query.parquet", "runs/demo.bm25.trec"])
@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda content: content.replace(b"bm25", b"bm24")])
def test_damaged_results_are_computed_again_with_a_word(tmp_path, caplog, name, damage):
    first = bm25_results(tmp_path)
    file = tmp_path / name
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    assert bm25_results(tmp_path).values == first.values
    assert "The baselines are evaluated again: " in caplog.text
    assert name in caplog.text
    assert file.read_bytes() == whole
