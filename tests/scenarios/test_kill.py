"""SIGKILL in a process of its own, at a step nobody chose: what is left goes on to the same weights and curve."""

import random
import signal
import time

import pytest

from tests.commands.test_train import LONG, same_run
from tests.running import start

STEPS = 8


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
    process = start("train", *LONG, "checkpoint.every_n_steps=2", home=home)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return only_run(home)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(2))
def test_a_killed_run_goes_on_bit_for_bit(reference, tmp_path, attempt):
    after = random.SystemRandom().randint(3, STEPS)
    process = start("train", *LONG, "checkpoint.every_n_steps=2", home=tmp_path)
    deadline = time.monotonic() + 300
    while steps_noted(tmp_path) < after and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = only_run(tmp_path)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "results.json").exists()
    once_more = start("train", f"resume={folder}", home=tmp_path)
    time.sleep(random.SystemRandom().uniform(4, 9))
    once_more.kill()
    once_more.communicate()
    again = start("train", f"resume={folder}", home=tmp_path)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, f"killed after step {after}: {err}"
    assert "Resuming after step" in err
    same_run(reference, folder)
