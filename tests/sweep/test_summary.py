"""Tests of the summary of a sweep."""

import json

import pytest

from reasonir.runs.outcome import FINISHED, JobRecord
from reasonir.sweep.jobs import SweepRecord
from reasonir.sweep.summary import summarise


def job(folder, name, **protocol):
    """Write a finished job's results."""
    (folder / name).mkdir()
    results = {"protocol": {"tasks": {"t": {}}, **protocol}, "results": {"t": {"trained": {"ndcg_at_10": 0.5}}}}
    (folder / name / "results.json").write_text(json.dumps(results))
    return {folder / name: JobRecord([f"seed={name}"], FINISHED)}


def digests(**parts):
    return {"digests": {"t": {"documents": "1-a", "queries": "1-b", "judgements": "1-c", **parts}}}


@pytest.mark.parametrize(("part", "noted"), [("documents", True), ("judgements", True), ("queries", False)])
def test_jobs_on_other_content_are_not_averaged_nor_comparable_but_for_their_wording(tmp_path, part, noted):
    jobs = (
        job(tmp_path, "1", **digests())
        | job(tmp_path, "2", **digests())
        | job(tmp_path, "3", **digests(**{part: "1-x"}))
    )
    text = summarise(SweepRecord(["-m"], ["seed=1,2,3"]), jobs, tmp_path).text
    assert [line.split("|")[-2].strip() for line in text.splitlines() if "0.5000" in line] == ["2", "1"]
    assert ("so not comparable: jobs 1, 2; 3" in text) is noted


def test_results_without_digests_are_neither_averaged_nor_fatal(tmp_path, caplog):
    jobs = job(tmp_path, "1") | job(tmp_path, "2", **digests())
    summary = summarise(SweepRecord(["-m"], ["seed=1,2"]), jobs, tmp_path)
    assert [line.split("|")[-2].strip() for line in summary.text.splitlines() if "0.5000" in line] == ["1"]
    assert f"{tmp_path}/1 was evaluated without digests of its content: evaluate it again" in caplog.text
