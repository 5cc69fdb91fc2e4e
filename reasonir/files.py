"""Files and folders that are either complete or not there, and what identifies their content."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path


@contextmanager
def completed(path: Path, *, replaces: bool = False) -> Iterator[Path]:
    """Give a place beside `path` to write a file or folder to; it becomes `path` when the block ends well.

    A file is on the disk before it is renamed. A folder that is there already stays, since another process completed
    the same meanwhile, unless the new one `replaces` it.

    Raises:
        OSError: the place can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        if partial.is_dir():
            if replaces and path.exists():
                path.rename(aside := path.with_name(f"{path.name}.replaced-{os.getpid()}"))
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


def sha256(file: Path) -> str:
    """The SHA-256 of a file, computed once a process unless the file changes."""
    status = file.stat()
    return _sha256(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(file: Path, _size: int, _changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
