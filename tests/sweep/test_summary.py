"""Tests of the summary of a sweep."""

import json

from reasonir.runs.outcome import FINISHED, JobRecord
from reasonir.sweep.jobs import SweepRecord
from reasonir.sweep.summary import summarise


def test_results_without_digests_are_neither_averaged_nor_fatal(tmp_path, caplog):
    jobs = {}
    for seed, digests in (("1", {}), ("2", {"digests": {"t": {"documents": "1-a"}}})):
        folder = tmp_path / seed
        folder.mkdir()
        results = {"protocol": {"tasks": {"t": {}}, **digests}, "results": {"t": {"trained": {"ndcg_at_10": 0.5}}}}
        (folder / "results.json").write_text(json.dumps(results))
        jobs[folder] = JobRecord([f"seed={seed}"], FINISHED)
    summary = summarise(SweepRecord(["-m"], ["seed=1,2"]), jobs, tmp_path)
    assert [line.split("|")[-2].strip() for line in summary.text.splitlines() if "0.5000" in line] == ["1"]
    assert f"{tmp_path}/1 was evaluated without digests of its content: evaluate it again" in caplog.text
