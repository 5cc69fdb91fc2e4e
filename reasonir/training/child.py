"""One job of a sweep in a process of its own, so that what kills or spoils it leaves the others alone.

A job whose folder says that it finished is passed over, one that was stopped goes on from its last checkpoint: that is
how a sweep continues. The process ends itself, with a checkpoint, when the sweep's does.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, setup_globals
from omegaconf import DictConfig

from reasonir.errors import InputError
from reasonir.training.outcome import FAILED, FINISHED, KILLED, RUNNING, Outcome, overrides_of

log = logging.getLogger(__name__)
OUTPUT = "output.log"
"""What a job printed that ran beside others."""


class JobError(RuntimeError):
    """A job of a sweep ended without a result; the message says why."""


def run_child(config: DictConfig, folder: Path) -> float | None:
    """Train what `config` composes in a new process, or take the result that its folder holds already.

    Returns:
        The best development metric, for sweepers.

    Raises:
        JobError: the job raised something, or its process was killed.
        InputError: it wants several devices, or the folder holds a job that was composed otherwise.
    """
    _refuse_devices(config)
    overrides = overrides_of(HydraConfig.get())
    before = Outcome.read(folder) or Outcome(overrides)
    if list(before.overrides) != overrides:
        raise InputError(
            f"{folder} holds a job of other choices ({' '.join(before.overrides)}): a sweep goes on with those that it "
            "began with; Optuna draws the same ones again only with hydra.sweeper.sampler.seed"
        )
    if before.status == FINISHED:
        log.info("Job %s finished before and is passed over", folder.name)
        return before.value
    started = time.time()
    replace(before, status=RUNNING, error="").write(folder)  # what it reads as if the process can't say how it ended
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("spawn", force=True)  # joblib's is unknown to the job
    context = multiprocessing.get_context("spawn")
    output = folder / OUTPUT if _beside_others() else None
    process = context.Process(target=_work, args=(config, HydraConfig.instance().cfg, folder, output))
    process.start()
    with _waiting_for(process):
        process.join()
    after = _ended(folder, overrides, process.exitcode)
    run_id = folder / "run_id"
    after = replace(
        after,
        seconds=before.seconds + time.time() - started,
        run_id=run_id.read_text() if run_id.is_file() else None,
    )
    after.write(folder)
    if after.status != FINISHED:
        raise JobError(after.error)
    return after.value


def _refuse_devices(config: DictConfig) -> None:
    """Lightning starts the other ranks by running the same command again, which would be the whole sweep."""
    if (config.hardware.devices, config.hardware.get("nodes", 1)) != (1, 1):
        raise InputError(
            f"hardware.devices={config.hardware.devices} in a sweep: jobs of a sweep use one device each; "
            "run this configuration by itself, or sweep with hardware.devices=1"
        )


def _beside_others() -> bool:
    """Whether the launcher may run several jobs at a time."""
    return not str(HydraConfig.get().launcher._target_).endswith(".BasicLauncher")


def _ended(folder: Path, overrides: Sequence[str], status: int | None) -> Outcome:
    """What the process noted, or what its exit status says where it couldn't."""
    noted = Outcome.read(folder) or Outcome(overrides)
    if noted.status != RUNNING:
        return noted
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        why = ": the system may have been short of memory" if name == "SIGKILL" else ""
        return replace(noted, status=KILLED, error=f"killed by {name}{why}")
    return replace(noted, status=FAILED, error=f"ended with exit status {status}")


@contextlib.contextmanager
def _waiting_for(process: BaseProcess) -> Iterator[None]:
    """Pass SIGTERM on to the job and let it write its checkpoint before this process ends (SIGINT it gets itself)."""

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, stop) if main else None
    try:
        yield
    except SystemExit:
        process.terminate()
        raise
    finally:
        process.join()
        if main:
            signal.signal(signal.SIGTERM, previous)


def _work(config: DictConfig, hydra_config: Any, folder: Path, output: Path | None) -> None:
    """The job's process."""
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    if output is not None:
        with output.open("a") as stream:
            os.dup2(stream.fileno(), sys.stdout.fileno())
            os.dup2(stream.fileno(), sys.stderr.fileno())
    from reasonir.training.run import train

    setup_globals()
    HydraConfig.instance().cfg = hydra_config
    configure_log(hydra_config.hydra.job_logging, hydra_config.hydra.verbose)
    noted = Outcome.read(folder)
    assert noted is not None
    if list((folder / "checkpoints").glob("step_*.ckpt")):
        config.resume = str(folder)
    else:
        (folder / "metrics.csv").unlink(missing_ok=True)
    try:
        noted = replace(noted, status=FINISHED, error="", value=train(config, folder))
    except InputError as error:
        noted = replace(noted, status=FAILED, error=str(error))
    except (KeyboardInterrupt, SystemExit):
        noted = replace(noted, status=KILLED, error="stopped by a signal")
        raise
    except Exception as error:
        log.exception("The job failed")
        noted = replace(noted, status=FAILED, error=f"{type(error).__name__}: {error}")
    finally:
        noted.write(folder)


def _end_with_the_sweep() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
