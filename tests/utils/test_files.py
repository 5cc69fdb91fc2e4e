"""Files written by several processes: each write is complete, and locked read-modify-writes lose nothing."""

import errno
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import filelock
import pytest

from reasonir.utils import files
from reasonir.utils.files import _kernel, _sweep, atomic_folder, atomic_path, exclusive, is_partial

COUNT = """
import json, sys
from pathlib import Path
from reasonir.utils.files import _kernel, _sweep, atomic_folder, atomic_path, exclusive, is_partial
file = Path(sys.argv[1])
for _ in range(50):
    with exclusive(file):
        count = json.loads(file.read_text()) + 1
        with atomic_path(file) as partial:
            partial.write_text(json.dumps(count))
"""


def test_writers_of_one_name_do_not_share_a_partial_file(tmp_path):
    both = Barrier(2)

    def write(text):
        with atomic_path(tmp_path / "file") as partial:
            both.wait()
            partial.write_text(text)
            both.wait()
            return partial.read_text()

    with ThreadPoolExecutor(2) as threads:  # with one process number, as two containers may have
        assert list(threads.map(write, ("a", "b"))) == ["a", "b"]
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_processes_that_read_and_write_lose_nothing(tmp_path):
    file = tmp_path / "count.json"
    file.write_text("0")
    counting = [subprocess.Popen([sys.executable, "-c", COUNT, str(file)]) for _ in range(4)]
    assert [process.wait() for process in counting] == [0] * 4
    assert json.loads(file.read_text()) == 200


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch, caplog, error):
    def refuse(*_, **__):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with exclusive(tmp_path / "file"):
        (tmp_path / "file").touch()
    assert f"{tmp_path} has no file locks ({os.strerror(error)})" in caplog.text


def test_a_lock_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file.lock").mkdir()
    with pytest.raises(OSError, match=r"file\.lock"), exclusive(tmp_path / "file"):
        pass


def test_a_long_wait_is_logged(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("reasonir.utils.files._SILENT_WAIT", 0.0)
    with ThreadPoolExecutor(1) as threads:
        with exclusive(tmp_path / "set"):
            other = threads.submit(lambda: exclusive(tmp_path / "set").__enter__())
            while "Waiting for another process, which is writing" not in caplog.text:
                assert not other.done()
        other.result(timeout=10)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_and_folders_are_synced_before_they_appear(tmp_path, monkeypatch):
    events, inodes = [], {}
    fsync, rename = os.fsync, os.rename

    def synced(descriptor):
        events.append(("sync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", lambda *paths: (events.append(("rename", "")), rename(*paths)))
    with atomic_folder(tmp_path / "set") as partial:
        (partial / "inner").mkdir()
        for name in ("a", "inner/b"):
            (partial / name).write_text(name)
        inodes = {path.stat().st_ino for path in (partial, *partial.rglob("*"))}
    appeared = events.index(("rename", ""))
    assert inodes <= {inode for _, inode in events[:appeared]}
    assert ("sync", tmp_path.stat().st_ino) in events[appeared:]
    assert names(tmp_path) == ["set"]


def test_a_folder_is_kept_or_replaced(tmp_path):
    for text, replaces, expected in (("a", False, "a"), ("b", False, "a"), ("c", True, "c")):
        with atomic_folder(tmp_path / "set", replaces=replaces) as partial:
            (partial / "file").write_text(text)
        assert (tmp_path / "set" / "file").read_text() == expected
    assert names(tmp_path) == ["set"]


@pytest.mark.parametrize("system", ["exchanges", "only renames"])
def test_a_folder_that_is_replaced_has_its_name_at_every_moment(tmp_path, monkeypatch, system):
    if system == "only renames":
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
    folder = tmp_path / "set"
    read, ended = [], threading.Event()

    def reading():
        while not ended.is_set():
            with suppress(FileNotFoundError):
                read.append(folder.exists())
                (folder / "file").read_text()

    with atomic_folder(folder) as partial:
        (partial / "file").write_text("0")
    reader = threading.Thread(target=reading)
    reader.start()
    for number in range(1, 60):
        with atomic_folder(folder, replaces=True) as partial:
            (partial / "file").write_text(str(number))
    ended.set()
    reader.join()
    assert (folder / "file").read_text() == "59"
    assert names(tmp_path) == ["set"]
    assert all(read) or system == "only renames"


WRITE = """
import sys, time
from pathlib import Path
from reasonir.utils.files import atomic_folder, atomic_path
home = Path(sys.argv[1])
with atomic_path(home / "file") as file, atomic_folder(home / "folder") as folder:
    file.write_text("half")
    (folder / "part").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_up_and_what_a_living_one_writes_is_not(tmp_path):
    writing = [subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)], stdout=subprocess.PIPE) for _ in "12"]
    assert [process.stdout.readline() for process in writing] == [b"writing\n"] * 2
    writing[0].kill()
    writing[0].wait()
    (tmp_path / "other.partial-12345678-0123abcd").write_text("of another machine")
    (old := tmp_path / "old.partial-12345678-0123abcd").mkdir()
    os.utime(old, (0, 0))
    assert len(names(tmp_path)) == 6
    _sweep.cache_clear()
    with atomic_path(tmp_path / "new") as partial:
        partial.write_text("new")
    left = names(tmp_path)
    assert [name.partition(".partial-")[0] for name in left] == ["file", "folder", "new", "other"]
    assert is_partial(tmp_path / left[0])
    assert not is_partial(tmp_path / "new")
    writing[1].kill()
    writing[1].wait()
    _sweep.cache_clear()
    with atomic_path(tmp_path / "new") as partial:
        partial.write_text("new")
    assert [name.partition(".partial-")[0] for name in names(tmp_path)] == ["new", "other"]


def test_without_locks_nothing_young_is_swept_up(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    (tmp_path / f"file.partial-{_kernel()}-0123abcd").write_text("of a neighbour")
    _sweep.cache_clear()
    with atomic_path(tmp_path / "new") as partial:
        partial.write_text("new")
    assert names(tmp_path) == [f"file.partial-{_kernel()}-0123abcd", "new"]


def test_a_block_that_fails_leaves_nothing(tmp_path):
    for manager in (atomic_path, atomic_folder):
        with pytest.raises(RuntimeError), manager(tmp_path / "x"):
            raise RuntimeError
    assert names(tmp_path) == []
