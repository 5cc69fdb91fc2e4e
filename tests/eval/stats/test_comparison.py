"""Paired comparison: the statistic, its correction, invalid input, and the command on real runs."""

import csv
import json

import numpy as np
import pytest

from reasonir.errors import InputError
from reasonir.eval.results import Results
from reasonir.eval.stats.comparison import OVERALL, PairwiseComparison, _holm, compare
from reasonir.eval.stats.significance import difference, interval, stratified_difference, stratified_interval
from tests.running import run


def system(*tasks):
    return {
        f"t{number}": {f"q{i}": {"ndcg_at_10": value} for i, value in enumerate(values)}
        for number, values in enumerate(tasks)
    }


def noisy(mean, count, seed):
    return (np.random.default_rng(seed).normal(mean, 0.2, count)).tolist()


def test_one_stratum_is_the_usual_paired_test():
    first, second = np.array(noisy(0.55, 60, 1)), np.array(noisy(0.5, 60, 2))
    deltas = (first - second).tolist()
    found, expected = stratified_difference([deltas]), difference(first.tolist(), second.tolist())
    assert found.delta == pytest.approx(expected.delta)
    assert found.p == pytest.approx(expected.p, abs=0.02)
    assert stratified_interval([deltas]) == pytest.approx(interval(deltas), abs=0.01)


def test_tasks_weigh_equally_for_any_number_of_queries():
    found = compare({"a": system([1.0] * 2, [0.0] * 98), "b": system([0.0] * 2, [0.0] * 98)}, "ndcg_at_10")
    (overall,) = [each for each in found if each.task == OVERALL]
    assert (overall.delta, overall.mean_first, overall.mean_second) == (0.5, 0.5, 0.0)
    assert (overall.wins, overall.losses, overall.ties) == (2, 0, 98)


def test_a_groups_mean_is_tested_as_all_tasks_are():
    good, bad = system(noisy(0.6, 40, 1), noisy(0.6, 20, 2)), system(noisy(0.5, 40, 3), noisy(0.55, 20, 4))
    results = Results(groups={"both": ["t0", "t1"]})
    for name, tasks in (("good", good), ("bad", bad)):
        for task, values in tasks.items():
            results.add_values(task, name, values)
    (overall,) = [each for each in compare({"good": good, "bad": bad}, "ndcg_at_10") if each.task == OVERALL]
    assert results.difference("both", "good", "bad") == (pytest.approx(overall.delta), overall.p)


def test_a_real_difference_is_significant_and_noise_is_not():
    good, bad = system(noisy(0.6, 150, 1), noisy(0.6, 150, 2)), system(noisy(0.4, 150, 3), noisy(0.4, 150, 4))
    same = system(noisy(0.6, 150, 5), noisy(0.6, 150, 6))
    found = {(c.task, c.first, c.second): c for c in compare({"good": good, "same": same, "bad": bad}, "ndcg_at_10")}
    assert len(found) == 9
    assert found[OVERALL, "good", "bad"].p_holm < 0.01
    assert found[OVERALL, "good", "bad"].low > 0
    assert found[OVERALL, "good", "same"].p_holm > 0.05
    assert list(found)[-1][0] == OVERALL


def test_corrected_judgements_are_compared_but_not_averaged_in():
    values = {"biology": system([0.5, 0.6])["t0"], "biology_corrected": system([0.9, 0.9])["t0"]}
    found = compare({"a": values, "b": values}, "ndcg_at_10")
    assert [each.task for each in found] == ["biology", "biology_corrected"]


def test_holms_correction():
    """p .01, .04, .03, .005 become .03, .06, .06, .02."""
    contrasts = [PairwiseComparison("t", "a", "b", 0, 0, 0, 0, 0, p, p, 0, 0, 0) for p in (0.01, 0.04, 0.03, 0.005)]
    assert [each.p_holm for each in _holm(contrasts)] == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(
    ("other", "metric", "message"),
    [
        ({"else": system([0.1])["t0"]}, "ndcg_at_10", "have no task in common"),
        (system([0.1, 0.2]), "ndcg_at_10", "query 'q1' was evaluated for only one of a and b"),
        (system([0.1]), "ndcg", "metric=ndcg: choose one of ndcg_at_10"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(other, metric, message):
    with pytest.raises(InputError) as refused:
        compare({"a": system([0.5]), "b": other}, metric)
    assert message in str(refused.value)


def test_the_command_compares_runs_and_their_systems(home):
    given = ("experiment=demo_tiny", "data.variants=1", "trainer.max_steps=1", "evaluation.baselines=[random]")
    first, second = (run("train", *given, f"seed={seed}", home=home).folder for seed in (1, 2))
    done = run("compare", f"runs=[{first},{second},'{first}:random']", home=home)
    assert done.status == 0, done.err
    found = json.loads((done.folder / "comparison.json").read_text())
    assert found["metric"] == "ndcg_at_10"
    assert [each["second"] for each in found["contrasts"]] == [
        second.name,
        f"{first.name}:random",
        f"{first.name}:random",
    ]
    assert (done.folder / "comparison.png").stat().st_size > 1000
    rows = list(csv.DictReader((done.folder / "queries.csv").open()))
    assert len(rows) == 3 * 145
    for arguments, message in (
        ([f"runs=[{first}]"], "give two or more"),
        ([f"runs=[{first},{first}]"], "twice"),
        ([f"runs=[{first},{home}]"], "holds no per_query.parquet"),
        ([f"runs=[{first},'{second}:bm25']"], "there is no system 'bm25': choose random, trained"),
        ([], "runs is missing"),
    ):
        wrong = run("compare", *arguments, home=home)
        assert wrong.status == 2
        assert message in wrong.err
