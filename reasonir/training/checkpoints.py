"""Atomic checkpoints, verified whole before they are loaded, and loaded without executing anything they contain.

A checkpoint is a zip archive, in which torch writes the CRC-32 of every record and doesn't check it on loading.
"""

from __future__ import annotations

import logging
import pickle
import re
import struct
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from reasonir.errors import InputError
from reasonir.utils.files import atomic_path
from reasonir.utils.tensor_files import read_tensors

log = logging.getLogger(__name__)
_UNREADABLE = (
    *(OSError, ValueError, TypeError, RuntimeError, EOFError),
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError),
)
"""Errors of damaged zip archives and of pickles that hold more than weights."""
_MONITOR = "TrainingMonitor"
"""Callback whose state names the best weights."""
_NAME = re.compile(r"step_(\d+)\.ckpt")
_STEP = re.compile(r"(?:step|best)_(\d+)\.(?:ckpt|safetensors)")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint files that are complete or absent, and hold weights and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write to a temporary file, flush it to the disk and rename it."""
        with atomic_path(Path(path)) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint onto the CPU.

        Raises:
            InputError: it is damaged, or holds more than weights and plain values.
        """
        checkpoint = _read(Path(path), mmap=False)
        if "global_step" not in checkpoint:
            raise InputError(f"checkpoint {path} isn't one of a training: {_others(Path(path))}")
        return checkpoint


def _read(file: Path, *, mmap: bool) -> dict[str, Any]:
    """Return a checkpoint after verifying it; with `mmap` its tensors are read when they are used."""
    reason = _zip_fault(file)
    if reason is None:
        try:
            return dict(torch.load(file, map_location="cpu", weights_only=True, mmap=mmap))
        except _UNREADABLE as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise InputError(f"checkpoint {file} can't be read ({reason}): {_others(file)}")


def _zip_fault(file: Path) -> str | None:
    """Return how a checkpoint is damaged, None if every record has its CRC-32; checked once unless it changes."""
    try:
        status = file.stat()
    except OSError as error:
        return str(error)
    return _bad_record(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _bad_record(file: Path, _size: int, _changed: int) -> str | None:
    try:
        with zipfile.ZipFile(file) as archive:
            record = archive.testzip()
    except _UNREADABLE as error:
        return f"damaged: {error}"
    return f"damaged: {record} doesn't have its checksum" if record else None


def fault_in(file: Path) -> str | None:
    """Return why a run can't go on from a checkpoint, None if it and the best weights so far are as written."""
    try:
        state = _read(file, mmap=True).get("callbacks", {}).get(_MONITOR, {})
        if state.get("best") is not None:
            read_best(file.parent, state["best_step"], state.get("best_digest", ""))
    except InputError as error:
        return str(error)
    return None


def read_best(folder: Path, step: int, digest: str) -> dict[str, Tensor]:
    """Return the best weights that a run saved at `step`, by name.

    Args:
        folder: of the checkpoints.
        step: optimiser step.
        digest: of the weights; empty if it isn't known.

    Raises:
        InputError: they are missing, damaged, or others than those saved.
    """
    file = folder / best_name(step)
    remedy = f"these are the best weights so far: copy them back, or {_others(folder / checkpoint_name(step), step)}"
    best = read_tensors(file, remedy=remedy)
    if digest and best.digest != digest:
        raise InputError(f"{file} holds other weights than the run saved: {remedy}")
    return best.tensors


def _others(file: Path, before: int | None = None) -> str:
    """Return how to go on without a checkpoint, or without those from a step on."""
    others = [each for each in newest(file.parent) if each != file and (before is None or step_of(each) < before)]
    whole = [str(each) for each in others if _zip_fault(each) is None]
    return f"resume from another one ({', '.join(whole)})" if whole else "start a new run: there is no other checkpoint"


def checkpoint_name(step: int) -> str:
    """Return the file name of the checkpoint after `step` optimiser steps."""
    return f"step_{step:08d}.ckpt"


def best_name(step: int) -> str:
    """Return the file name of the best weights, found after `step` optimiser steps."""
    return f"best_{step:08d}.safetensors"


def step_of(path: Path) -> int:
    """Return the optimiser step of a checkpoint or of best weights, read from the file name; 0 for other files."""
    match = _STEP.fullmatch(path.name)
    return int(match.group(1)) if match else 0


def newest(folder: Path) -> list[Path]:
    """List the checkpoints of a folder, latest step first."""
    return sorted(
        (file for file in folder.glob("step_*.ckpt") if _NAME.fullmatch(file.name)), key=step_of, reverse=True
    )


def find_checkpoint(resume: str) -> Path | None:
    """Return the checkpoint that `resume` names: a file, or the latest sound one of a run's folder.

    None for a run that ended before its first checkpoint: it begins again in its folder.

    Raises:
        InputError: there is none, or the file or the best weights that belong to it are damaged or missing.
    """
    path = Path(resume).expanduser()
    if path.is_file():
        if (reason := fault_in(path)) is not None:
            raise InputError(f"resume={resume}: {reason}")
        return path
    if not path.is_dir():
        raise InputError(f"resume={resume} doesn't exist: give a run's folder or one of its checkpoints")
    checkpoints, folder, reasons = newest(path / "checkpoints"), path / "checkpoints", list[str]()
    for file in checkpoints:
        if (reason := fault_in(file)) is None:
            return file
        log.warning("%s is skipped: %s", file, reason)
        reasons.append(reason)
    if reasons:
        problems = [f"  - {reason}" for reason in reasons]
        raise InputError("\n".join([f"resume={resume}: {folder} holds only damaged checkpoints:", *problems]))
    if not (path / "model").exists():
        log.info("%s ended before its first checkpoint: it begins again", path)
        return None
    raise InputError(f"resume={resume}: {folder} holds no checkpoint any more: start the run again without resume")
