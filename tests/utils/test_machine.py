"""Faults of the machine, as each layer reports them: one line with the place and the remedy; bugs stay bugs."""

import errno
import os
import resource
import sqlite3
from collections import namedtuple
from pathlib import Path

import pytest

from reasonir.utils import machine
from reasonir.utils.machine import machine_fault

TORCH = "[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"
SERIALIZING = "Error while serializing: I/O error: No space left on device (os error 28)"
DOCKER = "docker run --shm-size 8g"


def os_error(number, file=None):
    return OSError(number, os.strerror(number), file)


def following(cause):
    error = ValueError("the step failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        os_error(errno.ENOSPC),
        os_error(errno.EDQUOT),
        os_error(errno.EFBIG),
        OSError("100000 requested and 7152 written"),
        RuntimeError(TORCH),
        RuntimeError("basic_ios::clear: iostream error"),
        Exception(SERIALIZING),
        sqlite3.OperationalError("database or disk is full"),
        following(os_error(errno.ENOSPC)),
    ],
)
def test_a_full_disk_is_told_with_its_place_and_room(tmp_path, error):
    said = machine_fault(error, tmp_path / "home")
    assert said.startswith(f"{tmp_path / 'home'}: its disk is full, more is needed than the ")
    assert "that are free now" in said
    assert "free some space, then give the command again" in said
    assert "\n" not in said
    assert "None" not in said


def test_the_file_that_was_written_is_named(tmp_path):
    inside = machine_fault(os_error(errno.ENOSPC, str(tmp_path / "a.bin")), tmp_path)
    assert inside.startswith(f"{tmp_path / 'a.bin'}: its disk is full")
    outside = machine_fault(os_error(errno.ENOSPC, str(tmp_path / "a.bin")), tmp_path / "home")
    assert "set TMPDIR to another disk" in outside


@pytest.mark.parametrize(
    ("text", "free", "expected"),
    [
        ("unable to write to file </torch_12_3>: No space left on device (28)", 0, DOCKER),
        ("DataLoader worker (pid 12) is killed by signal: Bus error. Raise your shared memory limit.", 0, DOCKER),
        ("DataLoader worker (pid 12) is killed by signal: Killed. ", 1 << 40, "may have run out of memory"),
        ("DataLoader worker (pid(s) 12, 13) exited unexpectedly", 1 << 40, "may have run out of memory"),
    ],
)
def test_a_lost_loader_process_is_told_with_its_remedy(tmp_path, monkeypatch, text, free, expected):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage(1 << 40, 0, free))
    said = machine_fault(RuntimeError(text), tmp_path)
    assert expected in said
    assert "loader.workers=0" in said
    assert ("/dev/shm" in said) == (expected == DOCKER)
    assert "REASONIR_HOME" not in said


@pytest.mark.parametrize(
    "error",
    [
        os_error(errno.EMFILE, "/a"),
        RuntimeError("Too many open files. Communication with the workers is no longer possible."),
        RuntimeError("received 0 items of ancdata"),
    ],
)
def test_too_few_descriptors_are_told_with_the_limit(tmp_path, error):
    said = machine_fault(error, tmp_path)
    assert f"the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}" in said
    assert "ulimit -n 65536" in said


def test_rights_are_told_with_the_remedy_of_the_place(tmp_path):
    home = machine_fault(os_error(errno.EACCES, str(tmp_path / "outputs")), tmp_path)
    assert home.endswith("can't be written (Permission denied): set REASONIR_HOME to a writable folder")
    other = machine_fault(os_error(errno.EACCES, "/data/corpus.jsonl"), tmp_path)
    assert other == "/data/corpus.jsonl can't be used (Permission denied): change its rights, or give another"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        FileNotFoundError(errno.ENOENT, "No such file", "/a"),
        KeyError("x"),
        following(os_error(errno.EACCES, "/a")),
        os_error(errno.EACCES),
        RuntimeError("Caught KeyError in DataLoader worker process 0.\nOriginal Traceback"),
        RuntimeError("[enforce fail at inline_container.cc:197] . PytorchStreamReader failed reading zip archive"),
        RuntimeError("out of resource: shared memory, Required: 12, Hardware limit: 3"),
    ],
)
def test_other_errors_keep_their_traceback(error):
    assert machine_fault(error, Path("/home")) is None
