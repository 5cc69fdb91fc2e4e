import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from reasonir.data.demo import Demo
from reasonir.data.graded import Graded as Source
from reasonir.errors import InputError
from reasonir.eval.base import EvaluatedSystem
from reasonir.eval.digest import digests_of
from reasonir.eval.graded import GradedBenchmark, above_chance
from reasonir.eval.systems import open_candidates, random_system
from tests.data.test_graded import HEADER, SHOP, shop, source, table
from tests.running import run

RERANKER = SimpleNamespace(head=SimpleNamespace(reads_pairs=True))


def rater(relevance_of, noise):
    """Return a system with noisy access to the relevance: its scores are logits of the relevance being above 2.33."""
    draw = np.random.default_rng(4)

    def rank(task):
        given = open_candidates(task)
        return {
            query: {doc: 4 * (relevance_of[query][doc] - 2.2) + noise * draw.normal() for doc in docs}
            for query, docs in given.items()
        }

    return rank


def evaluated(name, rank, task, encoder=None):
    return EvaluatedSystem(name, {task.name: rank(task)}, rank, encoder)


@pytest.fixture
def given(tmp_path):
    """A source of 480 searches, some of which can't be ranked, and its ratings."""
    path = shop(tmp_path, 480)
    with Path(path).open("a") as stream:
        stream.writelines(f"lonely {number},x{number},thing,,{1 + number % 3}\n" for number in range(20))
    found = source(path)
    return found, {part: found.pairs(part)[1] for part in ("dev", "test")}


def test_every_system_is_evaluated_on_every_pair_and_compared_with_those_before(given, tmp_path):
    data, relevance = given
    benchmark, folder = GradedBenchmark(data), tmp_path / "analysis"
    (task,) = benchmark.tasks()
    knows = {**relevance["dev"], **relevance["test"]}
    random = random_system(depth=10, seed=0)
    benchmark.analyse(evaluated("random", random, task), folder)
    benchmark.analyse(evaluated("untrained", rater(knows, 6), task, RERANKER), folder)
    found = benchmark.analyse(evaluated("trained", rater(knows, 0.5), task, RERANKER), folder)[task.name]
    assert found.figures["auc"] > 0.99
    assert found.figures["ndcg_at_10_above_chance"] > 0.9
    assert found.figures["spearman_by_query"] > 0.9
    assert set(found.differences) == {"random", "untrained"}
    for gaps in found.differences.values():
        assert gaps["auc"].delta > 0.1
        assert gaps["auc"].p == pytest.approx(0.001)
        assert gaps["brier"].delta < 0
    span = found.intervals["auc"]
    assert span.low <= found.figures["auc"] <= span.high <= 1

    rows = pq.read_table(folder / f"{task.name}.trained.parquet").to_pylist()
    pairs = sum(map(len, relevance["test"].values()))
    assert len(rows) == pairs > sum(map(len, task.candidates.values()))
    assert {row["query"] for row in rows} > {text.text for text in task.queries.values()}
    assert all(row["probability"] == pytest.approx(1 / (1 + np.exp(-row["score"]))) for row in rows)
    assert all(row["relevance"] == relevance["test"][row["query_id"]][row["document_id"]] for row in rows)
    assert (folder / f"{task.name}.reliability.png").stat().st_size > 1000


def test_random_order_is_the_floor_of_every_metric(given, tmp_path):
    data, relevance = given
    benchmark = GradedBenchmark(data)
    (task,) = benchmark.tasks()
    figures = benchmark.analyse(evaluated("random", random_system(depth=10, seed=0), task), tmp_path / "a")[
        task.name
    ].figures
    share = np.mean([value >= 2.33 for values in relevance["test"].values() for value in values.values()])
    assert figures["auc"] == pytest.approx(0.5, abs=0.06)
    assert figures["brier"] == pytest.approx(share * (1 - share), abs=0.01)
    assert figures["accuracy"] == pytest.approx(max(share, 1 - share), abs=0.08)
    assert figures["ndcg_at_10_above_chance"] == pytest.approx(0, abs=0.1)
    assert figures["spearman_by_query"] == pytest.approx(0, abs=0.15)
    errors = json.loads((tmp_path / "a" / f"{task.name}.random.json").read_text())
    assert [level["relevance"] for level in errors["by_relevance"]] == [1, 1.67, 2, 2.33, 3]
    assert sum(errors["confusion"].values()) == sum(each["pairs"] for each in errors["reliability"])


def test_a_perfect_order_scores_1_above_chance_and_the_mean_of_orders_0(given):
    data, _ = given
    (task,) = GradedBenchmark(data).tasks()
    best = {query: {doc: float(label) for doc, label in labels.items()} for query, labels in task.qrels.items()}
    assert above_chance(best, task.qrels)["ndcg_at_10_above_chance"] == pytest.approx(1)
    turned = {query: {doc: -score for doc, score in scores.items()} for query, scores in best.items()}
    assert above_chance(turned, task.qrels)["ndcg_at_10_above_chance"] < -0.5


def test_the_protocol_has_the_digest_of_all_pairs_that_metrics_depend_on(tmp_path):
    def stamp(*last):
        rows = [(f"a {n}", f"d{n}{r}", f"thing {n} {r}", "", r) for n in range(30) for r in (1, 3)]
        data = source(table(tmp_path, *rows, *last), splits=(0.4, 0.3, 0.3))
        (task,) = GradedBenchmark(data).tasks()
        return data, task.protocol["pairs"], digests_of([task])

    data, pairs, content = stamp()
    (dev, _), (test, _) = data.pairs("dev"), data.pairs("test")
    for query in (next(iter(dev.queries.values())), next(iter(test.queries.values()))):
        assert stamp((query.text, "x", "another", "", 2))[1] != pairs
    assert stamp((next(iter(dev.queries.values())).text, "x", "another", "", 2))[2] == content
    assert stamp()[1:] == (pairs, content)


def test_other_sources_and_shares_without_dev_are_refused(tmp_path):
    with pytest.raises(InputError, match="eval=graded needs graded pairs: name a run on data=graded"):
        list(GradedBenchmark(Demo()).tasks())
    with pytest.raises(InputError, match="eval=graded needs graded pairs"):
        list(GradedBenchmark(None).tasks())
    with pytest.raises(InputError, match="tunes thresholds on dev"):
        list(GradedBenchmark(Source(shop(tmp_path), SHOP, splits=(0.8, 0, 0.2))).tasks())
    with pytest.raises(InputError, match="keeps no test queries"):
        list(GradedBenchmark(Source(shop(tmp_path), SHOP, splits=(0.8, 0.2, 0))).tasks())


QUICK = (
    "model=tiny_reranker",
    "data=graded",
    "eval=graded",
    "hardware=cpu",
    "logger=csv",
    "loader.workers=0",
    "loader.positives=all",
    "evaluation.baselines=[random,untrained]",
)


def test_a_second_evaluation_of_a_run_gives_the_same_metrics(home, tmp_path):
    path = f"data.path={shop(tmp_path)}"
    done = run("train", *QUICK, "loss=mse", "loader.batch_size=8", "trainer.max_steps=2", path, home=home)
    assert done.status == 0, done.err
    first = json.loads((done.folder / "results.json").read_text())
    assert first["differences"]["shop"]["untrained"].keys() >= {"ndcg_at_10", "auc", "brier", "f1_tuned"}
    assert first["intervals"]["shop"]["random"].keys() >= {"ndcg_at_10", "ece"}
    again = run("evaluate", f"run={done.folder}", "eval=graded", "hardware=cpu", "logger=csv", home=home)
    assert again.status == 0, again.err
    second = json.loads((again.folder / "results.json").read_text())["results"]["shop"]
    for system in ("random", "trained"):
        for name, value in first["results"]["shop"][system].items():
            assert second[system][name] == pytest.approx(value, abs=1e-4), (system, name)


def test_a_file_without_the_columns_is_refused_by_the_command(home, tmp_path):
    path = table(tmp_path, ("q", 1, "n", "", 9), header=HEADER)
    done = run("train", *QUICK, "loss=bce", f"data.path={path}", home=home)
    assert done.status == 2
    assert "line 2: 'relevance' is '9', expected a number from 1 to 3" in done.err
