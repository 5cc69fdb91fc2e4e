"""Files written by several processes: each write is complete, and locked read-modify-writes lose nothing."""

import errno
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import filelock
import pytest

from reasonir.utils.files import atomic_path, exclusive

COUNT = """
import json, sys
from pathlib import Path
from reasonir.utils.files import atomic_path, exclusive
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
