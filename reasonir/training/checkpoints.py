"""Atomic checkpoints, loaded without executing anything they contain."""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from reasonir.errors import InputError
from reasonir.utils.files import atomic_path

log = logging.getLogger(__name__)
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
        try:
            return torch.load(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"checkpoint {path} can't be read ({first}): resume from another one in its folder, or start a new run"
            ) from error


def checkpoint_name(step: int) -> str:
    """Return the file name of the checkpoint after `step` optimiser steps."""
    return f"step_{step:08d}.ckpt"


def step_of(path: Path) -> int:
    """Return the optimiser step of a checkpoint or of best weights, read from the file name; 0 for other files."""
    match = _STEP.fullmatch(path.name)
    return int(match.group(1)) if match else 0


def newest(folder: Path) -> list[Path]:
    """List the checkpoints of a folder, latest step first."""
    return sorted(
        (file for file in folder.glob("step_*.ckpt") if _NAME.fullmatch(file.name)), key=step_of, reverse=True
    )


def find_checkpoint(resume: str) -> Path:
    """Return the checkpoint that `resume` names: a file, or the latest complete one of a run's folder.

    Raises:
        InputError: there is none.
    """
    path = Path(resume).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"resume={resume} doesn't exist: give a run's folder or one of its checkpoints")
    checkpoints = newest(path / "checkpoints")
    for file in checkpoints:
        if zipfile.is_zipfile(file):
            return file
        log.warning("Checkpoint %s is incomplete: skipped", file)
    kind = "only damaged checkpoints" if checkpoints else "no checkpoint yet"
    raise InputError(f"resume={resume}: {path / 'checkpoints'} holds {kind}: start the run again without resume")
