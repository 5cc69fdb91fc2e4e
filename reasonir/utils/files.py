"""Files and folders that are complete or not there, changed by one process at a time, and identified by content."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

log = logging.getLogger(__name__)
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""Errors of a file system that has no locks."""
_SOON = 2.0
"""Seconds of waiting for a lock that nobody needs to hear of."""


@contextmanager
def atomic_path(path: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Give a place beside `path` to write a file or folder to; it becomes `path` when the block ends well.

    A file is on the disk before it is renamed. A folder that is there already stays, since another process completed
    the same meanwhile, unless the new one `replaces` it.

    Raises:
        OSError: the place can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = f"{os.getpid()}-{secrets.token_hex(4)}"  # containers have the same process numbers
    partial = path.with_name(f"{path.name}.partial-{mine}")
    try:
        yield partial
        if partial.is_dir():
            if replaces and path.exists():
                path.rename(aside := path.with_name(f"{path.name}.replaced-{mine}"))
                partial.rename(path)
                shutil.rmtree(aside)
                return
            try:
                partial.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
        else:
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock `<path>.lock` during the block, in which a file or folder is made or changed.

    It ends with the process, however that ends. A file system without locks is warned of, and the block runs.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        try:
            lock.acquire(timeout=_SOON)
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


def sha256(file: Path) -> str:
    """The SHA-256 of a file, computed once a process unless the file changes."""
    status = file.stat()
    return _sha256(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(file: Path, _size: int, _changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
