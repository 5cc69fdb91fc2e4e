"""Systems of runs by names that tell them apart."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reasonir.commands.compare import read_systems
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
    return tmp_path


def test_runs_of_two_sweeps_that_are_called_alike_are_told_apart(sweeps):
    found = read_systems([f"{sweeps}/monday/0", f"{sweeps}/tuesday/0"], sweeps)
    assert {name: values["t"]["q"]["ndcg_at_10"] for name, values in found.items()} == {
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
