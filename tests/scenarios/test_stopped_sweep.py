"""Sweeps that are stopped by a signal, their jobs one after the other and side by side."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from reasonir.runs.outcome import KILLED, job_records
from reasonir.sweep.jobs import SweepRecord
from tests.running import SHORTER
from tests.sweep.test_callback import BESIDE_EACH_OTHER, SMALL, client_of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "number", "jobs"), [((), signal.SIGINT, {"0"}), (BESIDE_EACH_OTHER, signal.SIGTERM, {"0", "1"})]
)
def test_a_stopped_sweep_leaves_checkpoints_and_no_process(tmp_path, launcher, number, jobs):
    longer = ("trainer.max_steps=10000", "trainer.max_epochs=10000", "dev_eval.every_n_steps=10000", "seed=1,2,3")
    command = [sys.executable, "-m", "reasonir.train", "-m", *SMALL[:-1], *SHORTER, *longer, *launcher]
    environment = {**os.environ, "REASONIR_HOME": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while {file.parent.name for file in tmp_path.glob("multirun/*/*/metrics.csv")} != jobs:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.5)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert f"0 of {len(jobs)} started jobs finished" in err

    (folder,) = (tmp_path / "multirun").iterdir()
    client = client_of(tmp_path)
    assert client.get_run(SweepRecord.read(folder).parent).info.status == "KILLED"
    assert {job.name for job in job_records(folder)} == jobs
    for job, outcome in job_records(folder).items():
        assert (outcome.status, outcome.error, outcome.pid) == (KILLED, "stopped by a signal", None)
        assert outcome.seconds > 0
        assert client.get_run(outcome.run_id).info.status == "KILLED"
        assert list(job.glob("checkpoints/step_*.ckpt"))
    assert not [each for each in psutil.process_iter() if str(tmp_path) in _environment(each)]


def _environment(process):
    try:
        return process.environ().get("REASONIR_HOME", "")
    except psutil.Error:
        return ""
