"""Atomic writes, locks between processes, and content hashes."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import logging
import os
import platform
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""Errors of a file system without locks."""
PARTIAL = ".partial-"
"""Part of the names of files and folders that are being written."""
_HERE, _EXCHANGE = -100, 2
"""Linux's AT_FDCWD and RENAME_EXCHANGE."""
_ABANDONED = 7 * 24 * 3600.0
"""Seconds without a change after which a partial file of another machine is nobody's."""
_SILENT_WAIT = 2.0
"""Seconds of waiting for a lock before it is logged."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file next to `path`; sync it to the disk and rename it when the block succeeds.

    Raises:
        OSError: the path can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path) as partial:
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)


@contextmanager
def atomic_folder(path: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`; sync all of it and rename it when the block succeeds.

    An existing folder is kept, since another process completed the same one meanwhile, unless the new one `replaces`
    it.

    Raises:
        OSError: the path can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _partial(path, folder=True) as partial:
        yield partial
        _sync_all(partial)
        if replaces and path.exists():
            _exchange(partial, path)
        else:
            try:
                partial.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
        sync(path.parent)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder whose name begins with that of `path`, and delete it afterwards.

    If the process is killed, the next one that writes in the same parent deletes it.

    Raises:
        OSError: the parent of `path` doesn't exist or can't be written.
    """
    with _partial(path, folder=True) as partial:
        yield partial


@contextmanager
def _partial(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a new locked partial file or folder; delete what has its name afterwards."""
    _sweep(path.parent)
    while True:
        partial = path.with_name(f"{path.name}{PARTIAL}{_kernel()}-{secrets.token_hex(4)}")
        partial.mkdir() if folder else partial.touch(exist_ok=False)
        with suppress(FileNotFoundError):  # a process that sweeps this folder deleted it before it was locked
            descriptor = os.open(partial, os.O_RDONLY if folder else os.O_RDWR)
            if _lock(descriptor) is not False and os.path.lexists(partial):
                break
            os.close(descriptor)
    try:
        yield partial
    finally:
        _delete(partial)
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders at once, so that there is always one of each name, also after a kill.

    Where the system can't, one of them has no name for a moment.
    """
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is not None and exchange(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    aside = one.with_name(f"{one.name}-aside")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _sync_all(folder: Path) -> None:
    for inner, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(inner, name))
        sync(Path(inner))


def sync(path: Path) -> None:
    """Flush a file, or a folder's names, to the disk.

    Raises:
        OSError: the disk can't be written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems sync no folders
        if path.is_file() or error.errno not in NO_LOCKS:
            raise
    finally:
        os.close(descriptor)


def is_partial(path: Path) -> bool:
    """Return whether a file or folder is, or is within, one that `atomic_path` or `atomic_folder` is writing."""
    return any(PARTIAL in part for part in path.parts)


@cache
def _sweep(folder: Path) -> None:
    """Delete partial files and folders whose process has ended, once per process and folder.

    A partial one is locked by its process. Those of another machine, whose locks may not show here, are deleted when
    they haven't changed for a week.
    """
    for partial in [path for path in folder.iterdir() if PARTIAL in path.name]:
        try:
            descriptor = os.open(partial, os.O_RDONLY if partial.is_dir() else os.O_RDWR)
            try:
                state = _lock(descriptor)
                own = state and f"{PARTIAL}{_kernel()}-" in partial.name
                if own or (state is not False and time.time() - _changed(partial) > _ABANDONED):
                    _delete(partial)
                    log.info("Deleted %s, which an ended process left unfinished", partial)
            finally:
                os.close(descriptor)
        except OSError as error:  # renamed or deleted meanwhile, or another user's
            log.debug("%s stays: %s", partial, error)


def _lock(descriptor: int) -> bool | None:
    """Lock a file or folder until the descriptor is closed: False if another process holds it, None without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (*NO_LOCKS, errno.EBADF):  # NFS locks no folders
            raise
        return None
    return True


def _changed(path: Path) -> float:
    return max(each.lstat().st_mtime for each in (path, *path.rglob("*")))


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@cache
def _kernel() -> str:
    """Hash of the running kernel's id, which containers of a machine share, as they share its locks."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return hashlib.sha256((boot.read_text() if boot.is_file() else platform.node()).encode()).hexdigest()[:8]


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock `<path>.lock` while the block creates or changes a file or folder.

    The lock ends with the process, even a killed one. On a file system without locks the block runs after a warning.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"), mode=0o666)  # a home may be several users'
    try:
        try:
            lock.acquire(timeout=_SILENT_WAIT)
        except Timeout:
            log.info("Waiting for another process, which is writing %s", path)
            lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        log.warning("%s has no file locks (%s): only one process at a time may use it", path.parent, error.strerror)
    try:
        yield
    finally:
        lock.release()


def add_strings(digest: Any, parts: Iterable[str]) -> None:
    """Add strings to a hash of hashlib, each with its length, so that other borders make another hash."""
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8))
        digest.update(raw)


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, computed once per process unless the file changes."""
    status = file.stat()
    return _sha256(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(file: Path, _size: int, _changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
