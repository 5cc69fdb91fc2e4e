"""Systems of runs by names that tell them apart, and compared on equal content only."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from reasonir.commands.compare import compare_runs, read_systems
from reasonir.errors import InputError
from reasonir.inference.loading import run_of
from reasonir.runs.outcome import FINISHED, KILLED, JobRecord
from reasonir.sweep.jobs import SweepRecord
from reasonir.tracking.base import folder_of_run


@pytest.fixture
def sweeps(tmp_path):
    for number, value in (("monday/0", 0.1), ("monday/1", 0.2), ("tuesday/0", 0.3)):
        folder = tmp_path / number
        folder.mkdir(parents=True)
        rows = [
            {"task": "t", "system": system, "query_id": "q", "ndcg_at_10": value} for system in ("trained", "random")
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "per_query.parquet")
        stamp(folder)
    return tmp_path


def stamp(folder, *, depth=1000, **parts):
    """Write results.json with a protocol of these digests."""
    digests = {"documents": "9-ab", "queries": "1-cd", "judgements": "1-ef", "excluded": "0-00", **parts}
    protocol = {"depth": depth, "model": folder.name, "digests": {"t": digests}, "tasks": {"t": {"split": "test"}}}
    (folder / "results.json").write_text(json.dumps({"protocol": protocol}))


def test_runs_of_two_sweeps_that_are_called_alike_are_told_apart(sweeps):
    found = read_systems([f"{sweeps}/monday/0", f"{sweeps}/tuesday/0"], sweeps)
    assert {name: system.values["t"]["q"]["ndcg_at_10"] for name, system in found.items()} == {
        "monday/0": 0.1,
        "tuesday/0": 0.3,
    }
    assert list(read_systems([f"{sweeps}/monday/0", f"{sweeps}/monday/1:random"], sweeps)) == ["0", "1:random"]
    assert list(read_systems([f"{sweeps}/monday/0", f"{sweeps}/monday/0:random"], sweeps)) == ["0", "0:random"]


def test_one_run_by_two_paths_is_the_same_run(sweeps):
    with pytest.raises(InputError, match="twice"):
        read_systems([f"{sweeps}/monday/0", f"{sweeps}/tuesday/../monday/0"], sweeps)


def test_a_sweep_stands_for_its_finished_jobs_by_their_choices(sweeps):
    SweepRecord(["-m"], ["model=tiny"]).write(sweeps / "monday")
    for job, status in (("0", FINISHED), ("1", FINISHED), ("2", KILLED)):
        (sweeps / "monday" / job).mkdir(exist_ok=True)
        JobRecord(["model=tiny", f"seed={job}"], status).write(sweeps / "monday" / job)
    assert list(read_systems([f"{sweeps}/monday"], sweeps)) == ["seed=0", "seed=1"]
    assert list(read_systems([f"{sweeps}/monday/0", f"{sweeps}/tuesday/0"], sweeps)) == ["seed=0", "0"]


def test_a_sweep_is_no_run(sweeps):
    SweepRecord(["-m"], []).write(sweeps / "monday")
    JobRecord([], KILLED).write(sweeps / "monday" / "0")
    with pytest.raises(InputError, match=r"monday is a sweep: give one of its jobs, .*monday/0"):
        folder_of_run(f"{sweeps}/monday", sweeps)
    with pytest.raises(InputError, match="is an unfinished job: continue with"):
        run_of(f"{sweeps}/monday/0")


def compared(sweeps, *runs):
    """Compare the runs, and return the content of comparison.json."""
    config = {"runs": [f"{sweeps}/{run}" for run in runs], "home": str(sweeps), "metric": "ndcg_at_10", "seed": 0}
    compare_runs(OmegaConf.create(config), sweeps)
    return json.loads((sweeps / "comparison.json").read_text())


@pytest.mark.parametrize("part", ["documents", "judgements", "excluded"])
def test_runs_evaluated_on_other_content_are_not_compared(sweeps, part):
    stamp(sweeps / "monday/1", **{part: "9-other"})
    with pytest.raises(InputError, match=f"t: the {part} of 0 .* and 1 .*9-other.* differ: evaluate both on the same"):
        compared(sweeps, "monday/0", "monday/1")
    assert not (sweeps / "comparison.json").exists()


def test_run_files_are_compared_by_what_is_known_of_them(sweeps):
    protocol = json.loads((sweeps / "monday/1/results.json").read_text())
    del protocol["protocol"]["digests"]["t"]["documents"]
    (sweeps / "monday/1/results.json").write_text(json.dumps(protocol))
    assert compared(sweeps, "monday/0", "monday/1")["conditions"] == {}


def test_every_pair_is_checked_where_the_first_is_a_run_file(sweeps):
    document = json.loads((sweeps / "monday/0/results.json").read_text())
    del document["protocol"]["digests"]["t"]["documents"]
    (sweeps / "monday/0/results.json").write_text(json.dumps(document))
    stamp(sweeps / "tuesday/0", documents="8-other")
    with pytest.raises(InputError, match=r"t: the documents of monday/1 \(9-ab\) and tuesday/0 \(8-other\) differ"):
        compared(sweeps, "monday/0", "monday/1", "tuesday/0")


def test_results_without_digests_or_protocol_are_refused(sweeps):
    (sweeps / "monday/1/results.json").write_text(json.dumps({"protocol": {}}))
    with pytest.raises(InputError, match="1 was evaluated without digests of its content: evaluate it again"):
        compared(sweeps, "monday/0", "monday/1")
    (sweeps / "monday/1/results.json").unlink()
    with pytest.raises(InputError, match=r"monday/1 holds no results.json: let the run finish"):
        compared(sweeps, "monday/0", "monday/1")


def test_other_conditions_are_stated(sweeps, capsys):
    stamp(sweeps / "monday/1", depth=100, queries="1-reworded")
    conditions = compared(sweeps, "monday/0", "monday/1")["conditions"]
    assert conditions == {
        "depth": {"0": 1000, "1": 100},
        "digests.t.queries": {"0": "1-cd", "1": "1-reworded"},
    }
    assert "evaluated differently, depth: A 1000, B 100" in capsys.readouterr().out
