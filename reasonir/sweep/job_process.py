"""One job of a sweep in a process of its own, so that what kills or spoils it leaves the others alone.

A job whose folder says that it finished is passed over, one that was stopped goes on from its last checkpoint: that is
how a sweep continues. Jobs are in process groups of their own, so that a signal reaches them once, from the sweep; one
whose sweep is gone ends itself, with a checkpoint.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import multiprocessing
import os
import platform
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
from reasonir.runs.lock import lock_folder
from reasonir.runs.outcome import FAILED, FINISHED, KILLED, RUNNING, JobRecord, overrides_of
from reasonir.sweep.jobs import STOPPING, JobError

log = logging.getLogger(__name__)
OUTPUT = "output.log"
"""What a job printed that ran beside others."""


def run_child(config: DictConfig, folder: Path, work: str) -> float | None:
    """Do `work` ("module:function") in a new process, or take the result that its folder holds already.

    Returns:
        The best development metric, for sweepers.

    Raises:
        JobError: the job raised something, or its process was killed.
        InputError: it wants several devices, or the folder holds a job that was composed otherwise.
    """
    _refuse_devices(config)
    overrides = overrides_of(HydraConfig.get())
    before = JobRecord.read(folder) or JobRecord(overrides)
    if list(before.overrides) != overrides:
        raise InputError(
            f"{folder} holds a job of other choices ({' '.join(before.overrides)}): a sweep goes on with those that it "
            "began with; Optuna draws the same ones again only with hydra.sweeper.sampler.seed"
        )
    if before.status == FINISHED:
        log.info("Job %s finished before and is passed over", folder.name)
        return before.value
    if (Path(HydraConfig.get().sweep.dir) / STOPPING).exists():
        raise JobError("the sweep was stopped before it began")
    started = time.time()
    replace(before, status=RUNNING, error="", pid=None).write(folder)  # what it reads if the process can't say more
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("spawn", force=True)  # joblib's is unknown to the job
    context = multiprocessing.get_context("spawn")
    launcher = str(HydraConfig.get().launcher._target_).rpartition(".")[2]
    output = None if launcher == "BasicLauncher" else folder / OUTPUT
    sweep = os.getppid() if launcher == "JoblibLauncher" else None  # this process is joblib's, below the sweep's
    process = context.Process(
        target=_work,
        args=(config, HydraConfig.instance().cfg, folder, output),
        kwargs={"work": work, "started": started, "sweep": sweep},
    )
    process.start()
    if output is not None:
        log.info("Job %s runs and prints into %s", folder.name, output)
    stopped_by_the_sweep = launcher in ("BasicLauncher", "JoblibLauncher")
    try:
        with contextlib.nullcontext() if stopped_by_the_sweep else _passing_on(process):
            process.join()
    finally:
        process.join()
        after = _ended(folder, overrides, process.exitcode, started)
    if after.status != FINISHED:
        raise JobError(after.error)
    log.info("Job %s finished%s", folder.name, "" if after.value is None else f": dev nDCG@10 {after.value:.4f}")
    return after.value


def _refuse_devices(config: DictConfig) -> None:
    """Lightning starts the other ranks by running the same command again, which would be the whole sweep."""
    if (config.hardware.devices, config.hardware.get("nodes", 1)) != (1, 1):
        raise InputError(
            f"hardware.devices={config.hardware.devices} in a sweep: jobs of a sweep use one device each; "
            "run this configuration by itself, or sweep with hardware.devices=1"
        )


def _ended(folder: Path, overrides: Sequence[str], status: int | None, started: float) -> JobRecord:
    """What the process noted, or what its exit status says where it couldn't."""
    noted = JobRecord.read(folder) or JobRecord(overrides)
    if noted.status != RUNNING:
        return noted
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        why = ": the system may have been short of memory" if name == "SIGKILL" else ""
        ended, error = KILLED, f"killed by {name}{why}"
    else:
        ended, error = FAILED, f"ended with exit status {status}"
    after = noted.ended(folder, ended, error, seconds=time.time() - started)
    after.write(folder)
    return after


@contextlib.contextmanager
def _passing_on(process: BaseProcess) -> Iterator[None]:
    """SIGTERM to this process is one to the job, which then writes its checkpoint before this process ends."""

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, stop) if main else None
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        process.terminate()
        raise
    finally:
        process.join()
        if main:
            signal.signal(signal.SIGTERM, previous)


def _work(
    config: DictConfig,
    hydra_config: Any,
    folder: Path,
    output: Path | None,
    *,
    work: str,
    started: float,
    sweep: int | None,
) -> None:
    """The job's process."""
    os.setpgrp()
    threading.Thread(target=_end_with_the_sweep, args=(sweep,), daemon=True).start()
    noted = JobRecord.read(folder)
    assert noted is not None
    if output is not None:
        with output.open("a") as stream:
            os.dup2(stream.fileno(), sys.stdout.fileno())
            os.dup2(stream.fileno(), sys.stderr.fileno())
    ended, error = KILLED, "stopped by a signal"
    try:
        with lock_folder(folder):
            noted = replace(noted, pid=os.getpid(), host=platform.node())
            noted.write(folder)
            noted = replace(noted, value=_do(work, config, hydra_config, folder))
        ended, error = FINISHED, ""
    except InputError as refused:
        ended, error = FAILED, str(refused)
    except Exception as raised:
        log.exception("The job failed")
        ended, error = FAILED, f"{type(raised).__name__}: {raised}"
    finally:
        noted.ended(folder, ended, error, seconds=time.time() - started).write(folder)


def _do(work: str, config: DictConfig, hydra_config: Any, folder: Path) -> float | None:
    """Start the job's run, or continue it from its last checkpoint."""
    module, _, name = work.partition(":")
    setup_globals()
    HydraConfig.instance().cfg = hydra_config
    configure_log(hydra_config.hydra.job_logging, hydra_config.hydra.verbose)
    if list((folder / "checkpoints").glob("step_*.ckpt")):
        config = config.copy()
        config.resume = str(folder)
    else:
        (folder / "metrics.csv").unlink(missing_ok=True)
    value: float | None = getattr(importlib.import_module(module), name)(config, folder)
    return value


def _end_with_the_sweep(sweep: int | None) -> None:
    """Stop the job when the process that started it is gone, or the sweep above that one."""
    import psutil

    parent = multiprocessing.parent_process()
    assert parent is not None
    with contextlib.suppress(psutil.NoSuchProcess):
        above = psutil.Process(parent.pid)
        while not wait([parent.sentinel], timeout=1) and (sweep is None or above.ppid() == sweep):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
