"""One writer per run folder: a lock that ends with its process, so that a killed run can be resumed at once.

A POSIX record lock on `.lock` in the folder. Unlike flock it isn't inherited by the forked workers of a DataLoader,
which outlive a killed run for some seconds. NFS carries it between hosts. The kernel releases it however the process
ends, but also when the process closes any other descriptor of the file: so the holder never opens the file again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from reasonir.errors import InputError
from reasonir.utils.files import NO_LOCKS

log = logging.getLogger(__name__)
LOCK = ".lock"
"""Lock file in a run's folder; its content is valid while it is locked."""
_TRIES, _PAUSE = 5, 0.05
"""Retries and seconds between them: a process that only checks whether a folder is locked holds the lock briefly."""
_held: dict[Path, dict[str, Any]] = {}


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the folder of a run or sweep during the block; log a warning if the file system has no locks.

    Raises:
        InputError: another process writes it; the message names the process and the remedy.
    """
    refuse_locked(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.resolve() / LOCK
    with file.open("a+") as stream:
        for tries_left in reversed(range(_TRIES)):
            if _try_lock(stream, fcntl.LOCK_EX, folder):
                break
            if not tries_left:
                raise _refusal(folder, _read_holder(stream))
            time.sleep(_PAUSE)
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        _held[file] = {"pid": os.getpid(), "host": platform.node(), "since": since}
        try:
            stream.truncate(0)
            json.dump(_held[file], stream)
            stream.flush()
            yield
        finally:
            del _held[file]


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock a folder as `lock_folder` does, unless this process has locked it already."""
    with nullcontext() if folder.resolve() / LOCK in _held else lock_folder(folder):
        yield


def refuse_locked(folder: Path) -> None:
    """Refuse a folder that a process is writing.

    Raises:
        InputError: naming the folder, the process and the remedy.
    """
    if (holder := _holder(folder)) is not None:
        raise _refusal(folder, holder)


def is_locked(folder: Path) -> bool:
    """Return True if a process is writing the folder; always False if the file system has no locks."""
    return _holder(folder) is not None


def is_abandoned(folder: Path) -> bool:
    """Return True if a process has locked the folder and none does now; never True without file locks."""
    file = folder.resolve() / LOCK
    if file in _held or not file.is_file():
        return False
    try:
        with file.open() as stream:
            fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it is locked, or can't be
        return False
    return True


def _holder(folder: Path) -> dict[str, Any] | None:
    """The process that holds a folder's lock (`pid`, `host`, `since`), None if there is none."""
    file = folder.resolve() / LOCK
    if file in _held:
        return _held[file]
    if not file.is_file():
        return None
    with file.open() as stream:
        return None if _try_lock(stream, fcntl.LOCK_SH, folder) else _read_holder(stream)


def _try_lock(stream: IO[str], kind: int, folder: Path) -> bool:
    try:
        fcntl.lockf(stream, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in NO_LOCKS:
            raise
        if kind == fcntl.LOCK_EX:
            log.warning("%s has no file locks (%s): make sure that nothing else writes it", folder, error.strerror)
    return True


def _read_holder(stream: IO[str]) -> dict[str, Any]:
    stream.seek(0)
    try:
        holder: dict[str, Any] = json.load(stream)
    except ValueError:  # it is just being written
        holder = {}
    return holder


def _refusal(folder: Path, holder: dict[str, Any]) -> InputError:
    pid, host, since = (holder.get(key, "?") for key in ("pid", "host", "since"))
    return InputError(
        f"{folder} is being written by process {pid} on {host}, since {since}: wait until it ends, or end it "
        f"(kill {pid} lets it write a checkpoint)"
    )
