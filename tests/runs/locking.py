"""Another program that has MLflow's database locked, as one that writes much or hangs would."""

import subprocess
import sys
from contextlib import contextmanager

_PROGRAM = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


class Locker:
    """Locks a database in a process of its own, from `lock` to `release`."""

    def __init__(self, database):
        self.database = database
        self.process = None

    def lock(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(self.database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout.readline() == b"locked\n"

    def release(self):
        if self.process is not None:
            self.process.communicate()
            self.process = None


@contextmanager
def locked(database):
    """The database is locked during the block."""
    locker = Locker(database)
    locker.lock()
    try:
        yield
    finally:
        locker.release()
