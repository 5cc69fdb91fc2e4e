"""Atomic writes, locks between processes, and content hashes."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""Errors of a file system without locks."""
_SILENT_WAIT = 2.0
"""Seconds of waiting for a lock before it is logged."""


@contextmanager
def atomic_path(path: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to `path` for a file or folder; rename it to `path` when the block succeeds.

    A file is synced to disk before it is renamed. An existing folder is kept, since another process completed the same
    one meanwhile, unless the new one `replaces` it.

    Raises:
        OSError: the path can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = f"{os.getpid()}-{secrets.token_hex(4)}"  # containers share process numbers
    partial = path.with_name(f"{path.name}.partial-{suffix}")
    try:
        yield partial
        if partial.is_dir():
            if replaces and path.exists():
                path.rename(aside := path.with_name(f"{path.name}.replaced-{suffix}"))
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
    """Hold the lock `<path>.lock` while the block creates or changes a file or folder.

    The lock ends with the process, even a killed one. On a file system without locks the block runs after a warning.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
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
