"""Faults of the machine in one place: full disks, too few file descriptors, killed worker processes, missing rights.

Each layer (Python, torch, Arrow, safetensors, NumPy, SQLite) says them in its own way, most without a path.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_SAYS = re.compile(
    "No space left on device|Disk quota exceeded|File too large"
    "|database or disk is full"  # SQLite
    r"|unexpected pos \d|PytorchStreamWriter|iostream error"  # torch.save
    r"|\d requested and \d+ written"  # NumPy
)
_TOO_MANY_SAYS = ("Too many open files", "items of ancdata")
_WORKER_SAYS = ("DataLoader worker (pid", "</torch_")
_REFUSED = (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EPERM, errno.EEXIST)
_SHARED = Path("/dev/shm")
_MIB = 1024**2


def machine_fault(error: BaseException, home: Path) -> str | None:
    """Return one line with the cause and the remedy if an error, or one that it follows from, is the machine's fault.

    None for other errors.

    Args:
        error: that ended a command.
        home: of the command, where a full disk is looked for if no layer names a path.
    """
    for each in _chain(error):
        text = str(each)
        if any(words in text for words in _WORKER_SAYS):
            return _worker_fault(text)
        number = each.errno if isinstance(each, OSError) else None
        if number in (errno.EMFILE, errno.ENFILE) or any(words in text for words in _TOO_MANY_SAYS):
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return f"too many open files (the limit is {limit}): raise it (ulimit -n 65536), or give loader.workers=0"
        if number in _FULL or _FULL_SAYS.search(text):
            return _full_disk(each, home)
    if isinstance(error, OSError) and error.errno in _REFUSED and error.filename:
        return _refused(error, home)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it follows from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _worker_fault(text: str) -> str:
    total, _, free = shutil.disk_usage(_existing(_SHARED))
    if "Bus error" in text or "No space left" in text or free < _MIB:
        return (
            f"{_SHARED}, through which the processes that build batches send them, is full ({_size(free)} of "
            f"{_size(total)} free): enlarge it (docker run --shm-size 8g), or give loader.workers=0"
        )
    return (
        f"a process that builds batches was killed ({text.splitlines()[0]}): the machine may have run out of memory: "
        "give loader.workers=0, or a smaller loader.batch_size; the run goes on with resume="
    )


def _full_disk(error: BaseException, home: Path) -> str:
    named = [Path(os.fsdecode(error.filename))] if isinstance(error, OSError) and error.filename else []
    places = named or [home, Path(tempfile.gettempdir())]
    disks = {
        _existing(place).stat().st_dev: place for place in reversed(places)
    }.values()  # home's name for a shared one
    path = min(disks, key=lambda place: shutil.disk_usage(_existing(place)).free)
    total, _, free = shutil.disk_usage(_existing(path))
    remedy = "free some space" if _inside(path, home) else "free some space, or set TMPDIR to another disk"
    cause = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"{path}: its disk is full, more is needed than the {_size(free)} of {_size(total)} that are free now "
        f"({cause}): {remedy}, then give the command again (a run that has begun: resume=<its folder>)"
    )


def _refused(error: OSError, home: Path) -> str:
    path = Path(os.fsdecode(error.filename))
    remedy = "set REASONIR_HOME to a writable folder" if _inside(path, home) else "change its rights, or give another"
    return f"{path} can't be {'written' if _inside(path, home) else 'used'} ({error.strerror}): {remedy}"


def _inside(path: Path, home: Path) -> bool:
    return path.absolute().is_relative_to(home.absolute())


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def _size(count: int) -> str:
    return f"{count / 1024**3:,.1f} GiB" if count >= 1024**3 else f"{count / _MIB:,.1f} MiB"
