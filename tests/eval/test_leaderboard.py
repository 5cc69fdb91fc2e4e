"""The published table is consistent, and an evaluation is ranked in it."""

import csv
from dataclasses import replace
from statistics import fmean

import pytest

from reasonir.data.files.bright import GROUPS, LONG_SPLITS, SPLITS
from reasonir.eval.bright import Bright
from reasonir.eval.leaderboard import Leaderboard, Row, write_standings
from reasonir.eval.results import Results
from reasonir.types import Corpus, Task
from tests.eval.test_bright import put
from tests.running import run

USUAL = {"protocol": "bright-official", "queries": "examples", "rerank": "none", "judgements": "official"}


def board():
    """Return a board of two tasks with a best row on each, one published as a mean only, and one reranked."""
    rows = [
        Row("left", 30.0, {"a": 50.0, "b": 10.0}, USUAL, "paper"),
        Row("right", 25.0, {"a": 10.0, "b": 40.0}, USUAL, "paper"),
        Row("whole", 28.0, {}, USUAL, "paper"),
        Row("helped", 90.0, {"a": 90.0, "b": 90.0}, {**USUAL, "rerank": "yes"}, "paper"),
        Row("words", 1.0, {"a": 1.0, "b": 1.0}, {**USUAL, "bm25": "weighed query"}, "paper"),
    ]
    return Leaderboard("B", "ndcg_at_10", ("a", "b"), USUAL, rows)


def results_of(values, *, protocol=None, **stamped):
    """Return results of task -> system -> value per query."""
    found = Results(dict(protocol or {}))
    for task, systems in values.items():
        stamp = {"protocol": "bright-official", "queries": "examples", **stamped}
        for system, numbers in systems.items():
            per_query = {str(i): {"ndcg_at_10": number} for i, number in enumerate(numbers)}
            found.add(Task(task, {}, Corpus([], []), {}, protocol=stamp), system, {}, per_query)
    return found


def lines(standings):
    return [(row.rank, row.model, pytest.approx(row.mean)) for row in standings.rows]


def published():
    return [(long, row) for long in (False, True) for row in Bright(long=long).leaderboard.rows]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.model) for _, row in published() if row.values])
def test_every_published_mean_is_that_of_its_splits(row):
    assert fmean(row.values.values()) == pytest.approx(row.mean, abs=0.06)
    assert tuple(row.values) == SPLITS
    assert all(0 < value < 100 for value in row.values.values())


def test_the_published_rows_are_distinct_and_have_sources():
    short, long = Bright().leaderboard, Bright(long=True).leaderboard
    assert (short.metric, tuple(short.tasks)) == ("ndcg_at_10", SPLITS)
    assert (long.metric, tuple(long.tasks)) == ("recall_at_1", LONG_SPLITS)
    for leaderboard in (short, long):
        assert list(leaderboard.counts) == list(leaderboard.tasks)
        assert len({(row.model, *row.rules.items()) for row in leaderboard.rows}) == len(leaderboard.rows)
        assert all(row.source and row.rules.keys() >= leaderboard.usual.keys() for row in leaderboard.rows)
    rows = {row.model: row for row in short.rows if row.rules == short.usual}
    means = {kind: fmean(rows["Reason-ModernColBERT"].values[split] for split in GROUPS[kind]) for kind in GROUPS}
    assert means["stackexchange"] == pytest.approx(27.43, abs=0.01)
    assert means["coding"] == pytest.approx(19.79, abs=0.01)


def test_a_system_is_ranked_by_the_mean_of_task_means():
    """Task a has one query and b three: a mean over queries would be 14.5."""
    results = results_of({"a": {"mine": [0.58]}, "b": {"mine": [0.0, 0.0, 0.0]}})
    assert lines(board().standings(results, "mine")) == [
        (None, "helped", 90.0),
        (1, "left", 30.0),
        (2, "mine (here)", 29.0),
        (3, "whole", 28.0),
        (4, "right", 25.0),
        (5, "words", 1.0),
    ]


def test_with_fewer_tasks_every_row_is_ranked_by_those():
    standings = board().standings(results_of({"b": {"mine": [0.2, 0.3], "random": [0.05, 0.05]}}), "mine")
    assert lines(standings) == [
        (None, "helped", 90.0),
        (1, "right", 40.0),
        (2, "mine (here)", 25.0),
        (3, "left", 10.0),
        (None, "random (here)", 5.0),
        (4, "words", 1.0),
    ]
    assert (standings.tasks, standings.of, standings.left_out) == (["b"], 2, 1)


def test_other_conditions_are_shown_and_cost_the_rank():
    rewritten = results_of({"a": {"mine": [0.5]}, "b": {"mine": [0.5]}}, queries="gpt4_reason (replace)")
    rows = {row.model: row for row in board().standings(rewritten, "mine").rows}
    assert rows["mine (here)"].rank == 1
    assert rows["mine (here)"].conditions == ("queries: gpt4_reason (replace)",)
    assert (rows["left"].rank, rows["left"].conditions) == (None, ("queries: examples",))
    assert rows["helped"].conditions == ("queries: examples", "rerank: yes")


def test_under_another_protocol_no_published_row_is_ranked():
    results = results_of({"a": {"mine": [0.5]}, "b": {"mine": [0.5]}})
    for task in results.protocol["tasks"].values():
        task["protocol"] = "mteb-1.1"
    assert [(row.rank, row.model) for row in board().standings(results, "mine").rows if row.rank] == [
        (1, "mine (here)")
    ]


@pytest.mark.parametrize(("weighed", "rank"), [(True, 5), (False, None)])
def test_bm25_is_compared_with_the_same_query_weighting(weighed, rank):
    values = {task: {"mine": [0.5], "bm25": [0.2]} for task in ("a", "b")}
    results = results_of(values, protocol={"bm25": {"weigh_query": weighed}})
    rows = {row.model: row for row in board().standings(results, "mine").rows}
    assert rows["words"].rank == rank
    assert rows["words"].conditions == ("bm25: weighed query",)
    assert rows["bm25 (here)"].conditions == (f"bm25: {'weighed query' if weighed else 'bag of words'}",)
    assert rows["mine (here)"].conditions == ()


def test_only_the_scoring_of_a_run_file_is_known():
    values = {task: {"file": [0.5]} for task in ("a", "b")}
    rows = {row.model: row for row in board().standings(results_of(values, protocol={"trec": "x"}), "file").rows}
    assert rows["helped"].rank == 1
    assert rows["file (here)"].rank == 2
    assert "queries" not in rows["file (here)"].rules
    stated = results_of(values, protocol={"trec": "x"}, queries="gpt4_reason (replace)")
    rows = {row.model: row for row in board().standings(stated, "file").rows}
    assert rows["left"].rank is None


def test_corrected_judgements_have_a_row_without_a_rank():
    results = results_of({"a": {"mine": [0.5]}, "b": {"mine": [0.5]}, "a_corrected": {"mine": [0.7]}})
    results.add_values("b_corrected", "mine", {"0": {"ndcg_at_10": 0.9}})
    (row,) = [row for row in board().standings(results, "mine").rows if row.conditions == ("judgements: corrected",)]
    assert (row.model, row.mean, row.rank, row.kind) == ("mine (here)", pytest.approx(80.0), None, "unranked")


@pytest.mark.parametrize(
    ("digests", "other"),
    [
        ({"documents": "9-ab", "queries": "2-cd"}, ""),
        ({"queries": "2-cd"}, ""),  # of a run file
        ({"documents": "8-ab", "queries": "2-cd"}, "content: other counts (a)"),
        ({"documents": "9-ab", "queries": "1-cd"}, "content: other counts (a)"),
    ],
)
def test_an_evaluation_on_other_documents_or_queries_is_not_ranked_among_the_published(digests, other):
    published = board()
    usual = {**USUAL, "content": "complete"}
    rows = [replace(row, rules={**row.rules, "content": "complete"}) for row in published.rows]
    published = replace(published, usual=usual, rows=rows, counts={"a": {"documents": 9, "queries": 2}})
    results = results_of({"a": {"mine": [0.5]}, "b": {"mine": [0.5]}}, protocol={"digests": {"a": digests, "b": {}}})
    ranked = {row.model: row for row in published.standings(results, "mine").rows}
    assert ranked["mine (here)"].conditions == ((other,) if other else ())
    assert (ranked["left"].rank is None) == bool(other)


def test_nothing_is_shown_if_nothing_is_published_or_evaluated():
    results = results_of({"a": {"mine": [0.5]}})
    assert Leaderboard().standings(results, "mine") is None
    assert board().standings(results_of({"else": {"mine": [0.5]}}), "mine") is None


def test_the_interval_is_that_of_the_mean_over_tasks():
    values = {"a": {"mine": [0.0, 1.0] * 50}, "b": {"mine": [0.5] * 3}}
    (mine,) = [row for row in board().standings(results_of(values), "mine").rows if row.kind == "evaluated"]
    half = 100 * 1.96 * 0.5 / 100**0.5 / 2  # of the mean of two means, the second of which doesn't vary
    assert mine.mean == pytest.approx(50.0)
    assert mine.span == pytest.approx((50 - half, 50 + half), abs=0.3)


def test_the_table_is_written(tmp_path):
    standings = board().standings(results_of({"a": {"mine": [0.2, 0.4]}, "b": {"mine": [0.3]}}), "mine")
    write_standings(standings, tmp_path)
    rows = list(csv.DictReader((tmp_path / "leaderboard.csv").open()))
    assert [row["model"] for row in rows] == ["helped", "mine (here)", "left", "whole", "right", "words"]
    (mine,) = [row for row in rows if row["model"] == "mine (here)"]
    assert (mine["mean"], mine["a"], mine["b"]) == ("30.00", "30.00", "30.00")
    assert float(mine["low"]) < 30 < float(mine["high"])
    (whole,) = [row for row in rows if row["model"] == "whole"]
    assert (whole["a"], whole["low"], whole["source"]) == ("", "", "paper")
    text = (tmp_path / "leaderboard.md").read_text()
    assert "**mine (here)**" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_the_command_ranks_a_folder_of_run_files(tmp_path, home, monkeypatch):
    put(tmp_path, "biology", qrels_fixed="0 0 a/b c_1.txt 1\n1 0 d.txt 1\n")
    trec = tmp_path / ".mine.v2"
    trec.mkdir()
    monkeypatch.chdir(trec)
    (trec / "biology.txt").write_text("0 Q0 a/b c_0.txt 1 2.0 x\n1 Q0 a/b c_0.txt 1 2.0 x\n")
    done = run(
        "evaluate",
        "eval=bright",
        f"eval.path={tmp_path}",
        "eval.splits=[biology]",
        "trec=.",
        "logger=csv",
        home=home,
    )
    assert done.status == 0, done.err
    rows = list(csv.DictReader((done.folder / "leaderboard.csv").open()))
    mine = [row["model"] for row in rows].index("mine (here)")
    assert (rows[mine]["mean"], rows[mine]["biology"]) == ("50.00", "50.00")
    assert float(rows[mine - 1]["mean"]) > 50 > float(rows[mine + 1]["mean"])
    assert rows[mine]["conditions"] == "content: other counts (biology)"  # two queries instead of 103
    assert "Reason-ModernColBERT" in done.out
    assert (done.folder / "leaderboard.png").stat().st_size > 1000
