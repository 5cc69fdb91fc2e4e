"""A run's folder has one writer at a time: who is refused and what it is told, and what a kill leaves."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from reasonir.errors import InputError
from reasonir.runs.lock import LOCK, is_locked, lock_folder, refuse_locked
from reasonir.runs.outcome import RUNNING, JobRecord
from reasonir.sweep.jobs import SweepRecord
from tests.running import run

HOLDER = """
import os, sys, time
from pathlib import Path
from reasonir.runs.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    if "fork" in sys.argv and not os.fork():
        time.sleep(30)  # a worker that outlives the run
        os._exit(0)
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """A function that starts a process which holds a folder until it is killed."""
    processes = []

    def start(folder, *flags):
        command = [sys.executable, "-c", HOLDER, str(folder), *flags]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        processes.append(process)
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_second_writer_is_told_who_the_first_one_is(tmp_path, hold):
    process = hold(tmp_path)
    assert is_locked(tmp_path)
    expected = rf"{tmp_path} is being written by process {process.pid} on .+, since 20.+: wait until it ends, or end it"
    with pytest.raises(InputError, match=expected), lock_folder(tmp_path):
        pass
    with pytest.raises(InputError, match=expected):
        refuse_locked(tmp_path)


def test_a_kill_releases_the_folder_though_a_forked_worker_lives_on(tmp_path, hold):
    process = hold(tmp_path, "fork")
    process.kill()
    process.wait()
    os.killpg(process.pid, 0)  # the worker is there
    with lock_folder(tmp_path):
        pass


def test_what_a_dead_run_noted_does_not_lock(tmp_path):
    with lock_folder(tmp_path):
        assert is_locked(tmp_path)
    assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "not there")


def test_one_process_does_not_write_a_folder_twice_either(tmp_path, hold):
    with lock_folder(tmp_path):
        with pytest.raises(InputError, match=f"is being written by process {os.getpid()}"), lock_folder(tmp_path):
            pass
        command = [sys.executable, "-c", HOLDER, str(tmp_path)]  # and that look left the lock as it was
        assert "is being written" in subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_locks_is_warned_of_once(tmp_path, monkeypatch, caplog, error):
    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with lock_folder(tmp_path):
        (tmp_path / "result").touch()
    (record,) = caplog.records
    assert f"{tmp_path} has no file locks ({os.strerror(error)})" in record.getMessage()


def test_another_error_of_the_file_system_is_raised(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(fcntl, "lockf", fail)
    with pytest.raises(OSError, match="input/output error"), lock_folder(tmp_path):
        pass


STARTED = ("experiment=demo_tiny", "logger=csv", "data.variants=1", "evaluation.baselines=[]", "trainer.max_steps=1")


def test_a_run_is_not_resumed_while_it_runs(tmp_path, hold):
    done = run("train", *STARTED, home=tmp_path)
    assert done.status == 0, done.err
    before = {file: file.stat().st_mtime_ns for file in done.folder.iterdir() if file.name not in (".hydra", LOCK)}
    process = hold(done.folder)
    for resume in (done.folder, next(done.folder.glob("checkpoints/*.ckpt"))):
        refused = run("train", f"resume={resume}", "trainer.max_steps=2", home=tmp_path)
        assert refused.status == 2
        assert f"{done.folder} is being written by process {process.pid}" in refused.err
        assert "Traceback" not in refused.err
    process.kill()
    process.wait()
    before.pop(done.folder / "reasonir-train.log")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert run("train", f"resume={done.folder}", "trainer.max_steps=2", home=tmp_path).status == 0


def test_two_runs_are_not_started_in_one_folder(tmp_path, hold):
    process = hold(tmp_path / "mine")
    refused = run("train", *STARTED, f"hydra.run.dir={tmp_path / 'mine'}", home=tmp_path)
    assert refused.status == 2
    assert f"{tmp_path / 'mine'} is being written by process {process.pid}" in refused.err
    assert not (tmp_path / "mine" / "config.yaml").exists()


def test_a_plan_needs_no_lock(tmp_path, hold):
    hold(tmp_path / "mine")
    assert run("train", *STARTED, "dry_run=true", f"hydra.run.dir={tmp_path / 'mine'}", home=tmp_path).status == 0


@pytest.mark.parametrize("held", [".", "1"])
def test_a_sweep_is_not_resumed_while_it_or_a_job_of_it_runs(tmp_path, hold, held):
    folder = tmp_path / "multirun" / "mine"
    for name in ("0", "1"):
        (folder / name).mkdir(parents=True)
        JobRecord([*STARTED, f"seed={name}"], RUNNING, pid=1, host="elsewhere").write(folder / name)
    SweepRecord(["-m", *STARTED, "seed=0,1"], list(STARTED)).write(folder)
    process = hold(folder / held)
    refused = run("train", f"resume={folder}", home=tmp_path)
    assert refused.status == 2
    assert f"{(folder / held).resolve()} is being written by process {process.pid}" in refused.err
    assert "Callback" not in refused.err
    assert not (folder / "summary.csv").exists()


def test_a_job_that_reads_as_running_is_gone_unless_it_holds_its_folder(tmp_path, hold):
    outcome = JobRecord([], RUNNING, pid=1, host="elsewhere")
    assert outcome.is_lost(tmp_path)
    hold(tmp_path)
    assert not outcome.is_lost(tmp_path)
