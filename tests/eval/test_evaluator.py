"""Further metrics of a benchmark are reported; baselines under another protocol aren't reused."""

import json

from reasonir.eval.base import Benchmark
from reasonir.eval.demo import DemoBenchmark
from reasonir.eval.evaluator import ANALYSIS, Evaluation, EvaluationOptions
from reasonir.eval.results import Difference, ExtraMetrics, Interval
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
