"""One process per job of a sweep, so that a crash affects no other job.

To resume a sweep, finished jobs are skipped and stopped ones continue from their last checkpoint. Each job has its own
process group, so that a signal reaches it once, from the sweep; a job whose sweep has ended stops with a checkpoint.
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
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, setup_globals
from omegaconf import DictConfig

from reasonir.errors import InputError
from reasonir.runs.lock import lock_folder
from reasonir.runs.outcome import FAILED, FINISHED, KILLED, RUNNING, JobRecord
from reasonir.runs.overrides import overrides_of
from reasonir.runs.secrets import mask
from reasonir.sweep.jobs import STOPPING, JobError
from reasonir.utils.machine import machine_fault
from reasonir.utils.signals import handling, stop

log = logging.getLogger(__name__)
OUTPUT = "output.log"
"""Output of a job that runs in parallel with others."""


def run_job(config: DictConfig, folder: Path, work: str) -> float | None:
    """Call `work` ("module:function") in a new process, or return the result of a job that has finished before.

    Returns:
        The best development metric, for sweepers.

    Raises:
        JobError: the job failed, or its process was killed.
        InputError: the job needs several devices, or the folder holds a job with other overrides.
    """
    _refuse_devices(config)
    overrides = overrides_of(HydraConfig.get())
    record = JobRecord.read(folder) or JobRecord(overrides)
    if list(record.overrides) != overrides:
        raise InputError(
            f"{folder} holds a job with other overrides ({' '.join(record.overrides)}): resume a sweep with its own; "
            "Optuna draws the same ones again only with hydra.sweeper.sampler.seed"
        )
    if record.status == FINISHED:
        log.info("Job %s finished before: skipped", folder.name)
        return record.value
    if (Path(HydraConfig.get().sweep.dir) / STOPPING).exists():
        raise JobError("the sweep was stopped before the job started")
    replace(record, status=RUNNING, error="", pid=None).write(folder)  # stays if the process can't write its own
    record = _run_process(config, folder, work, overrides)
    if record.status != FINISHED:
        raise JobError(record.error)
    log.info("Job %s finished%s", folder.name, "" if record.value is None else f": dev nDCG@10 {record.value:.4f}")
    return record.value


def _run_process(config: DictConfig, folder: Path, work: str, overrides: Sequence[str]) -> JobRecord:
    """Run the job's process to its end; return the job's record."""
    started = time.time()
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("spawn", force=True)  # the job doesn't have joblib's method
    launcher = str(HydraConfig.get().launcher._target_).rpartition(".")[2]
    output = None if launcher == "BasicLauncher" else folder / OUTPUT
    sweep = os.getppid() if launcher == "JoblibLauncher" else None  # this process is a worker of joblib
    process = multiprocessing.get_context("spawn").Process(
        target=_work,
        args=(config, HydraConfig.instance().cfg, folder, output),
        kwargs={"work": work, "started": started, "sweep": sweep},
    )
    process.start()
    if output is not None:
        log.info("Job %s is running, its output goes to %s", folder.name, output)
    stopped_by_the_sweep = launcher in ("BasicLauncher", "JoblibLauncher")
    try:
        with contextlib.nullcontext() if stopped_by_the_sweep else handling(stop):
            process.join()
    except (KeyboardInterrupt, SystemExit):
        process.terminate()  # it writes its checkpoint before this process ends
        raise
    finally:
        process.join()
        record = _final_record(folder, overrides, process.exitcode, started)
    return record


def _refuse_devices(config: DictConfig) -> None:
    """Refuse several devices: Lightning starts the other ranks by running the same command, the whole sweep, again."""
    if (config.hardware.devices, config.hardware.get("nodes", 1)) != (1, 1):
        raise InputError(
            f"hardware.devices={config.hardware.devices} in a sweep: jobs of a sweep use one device each; "
            "run this configuration by itself, or sweep with hardware.devices=1"
        )


def _final_record(folder: Path, overrides: Sequence[str], status: int | None, started: float) -> JobRecord:
    """Record written by the job's process, or made from its exit status if the process couldn't write one."""
    record = JobRecord.read(folder) or JobRecord(overrides)
    if record.status != RUNNING:
        return record
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        cause = ": the machine may have run out of memory" if name == "SIGKILL" else ""
        ended, error = KILLED, f"killed by {name}{cause}"
    else:
        ended, error = FAILED, f"ended with exit status {status}"
    record = record.ended(folder, ended, error, seconds=time.time() - started)
    record.write(folder)
    return record


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
    """Run in the job's process: call `work` with the folder locked, and record how it ended."""
    os.setpgrp()
    threading.Thread(target=_stop_with_the_sweep, args=(sweep,), daemon=True).start()
    record = JobRecord.read(folder)
    assert record is not None
    if output is not None:
        with output.open("a") as stream:
            os.dup2(stream.fileno(), sys.stdout.fileno())
            os.dup2(stream.fileno(), sys.stderr.fileno())
    ended, error = KILLED, "stopped by a signal"
    try:
        with handling(stop), lock_folder(folder):
            record = replace(record, pid=os.getpid(), host=platform.node())
            record.write(folder)
            record = replace(record, value=_call(work, config, hydra_config, folder))
        ended, error = FINISHED, ""
    except InputError as refused:
        ended, error = FAILED, mask(str(refused))
    except Exception as raised:
        fault = machine_fault(raised, Path(config.home))
        log.error("The job failed: %s", fault or raised, exc_info=fault is None)
        ended, error = FAILED, mask(fault or f"{type(raised).__name__}: {raised}")
    finally:
        record.ended(folder, ended, error, seconds=time.time() - started).write(folder)


def _call(work: str, config: DictConfig, hydra_config: Any, folder: Path) -> float | None:
    """Start the job's run, or resume it from its last checkpoint."""
    module, _, name = work.partition(":")
    function = getattr(importlib.import_module(module), name)  # registers the resolvers of the configuration
    setup_globals()
    HydraConfig.instance().cfg = hydra_config
    configure_log(hydra_config.hydra.job_logging, hydra_config.hydra.verbose)
    if list((folder / "checkpoints").glob("step_*.ckpt")):
        config = config.copy()
        config.resume = str(folder)
    value: float | None = function(config, folder)
    return value


def _stop_with_the_sweep(sweep: int | None) -> None:
    """Send this process SIGTERM when its parent process has ended, or the parent's parent `sweep`."""
    import psutil

    parent = multiprocessing.parent_process()
    assert parent is not None
    with contextlib.suppress(psutil.NoSuchProcess):
        parent_process = psutil.Process(parent.pid)
        while not wait([parent.sentinel], timeout=1) and (sweep is None or parent_process.ppid() == sweep):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
