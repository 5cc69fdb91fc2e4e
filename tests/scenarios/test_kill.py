"""SIGKILL in a process of its own, at a step nobody chose: what is left goes on to the same weights and curve."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.commands.test_train import LONG, same_run

STEPS = 8


def start(home, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "reasonir.train", *arguments],
        env={**os.environ, "REASONIR_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps_noted(home):
    """Training steps in the metrics.csv of the only run of `home`."""
    return sum(
        file.read_text().count(",train/loss,") for file in home.glob("outputs/*/metrics.csv") if file.stat().st_size
    )


def only_run(home):
    (folder,) = (home / "outputs").iterdir()
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The uninterrupted command, in a process too."""
    home = tmp_path_factory.mktemp("reference")
    process = start(home, *LONG, "checkpoint.every_n_steps=2")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return only_run(home)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(2))
def test_a_killed_run_goes_on_bit_for_bit(reference, tmp_path, attempt):
    after = random.SystemRandom().randint(3, STEPS)
    process = start(tmp_path, *LONG, "checkpoint.every_n_steps=2")
    deadline = time.monotonic() + 300
    while steps_noted(tmp_path) < after and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = only_run(tmp_path)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "results.json").exists()
    once_more = start(tmp_path, f"resume={folder}")
    time.sleep(random.SystemRandom().uniform(4, 9))
    once_more.kill()
    once_more.communicate()
    again = start(tmp_path, f"resume={folder}")
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, f"killed after step {after}: {err}"
    assert "Resuming after step" in err
    same_run(reference, folder)
