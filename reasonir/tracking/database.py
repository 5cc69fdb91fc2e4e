"""MLflow's SQLite database under the home folder: atomic creation, and bounded waits while it is locked.

Creation takes seconds of migrations, which two processes can't run at once and a kill may interrupt. So one process
runs them on a temporary file and renames that to mlflow.db.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import sqlite3
import time
from contextlib import AbstractContextManager, closing, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from reasonir.errors import InputError
from reasonir.tracking.moved import follow
from reasonir.utils.files import atomic_path, exclusive

FOLDER_TAG = "reasonir.folder"
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_POLL = 0.1
_MLFLOW_WAITS = 2000
"""Milliseconds."""


def database_of(home: Path) -> Path:
    """Return the file of the database."""
    return home.resolve() / "mlflow.db"


def address_of(home: Path) -> str:
    """Return the tracking URI of the database."""
    return _address(database_of(home))


def _address(file: Path) -> str:
    """URI of a database, with the characters escaped that SQLAlchemy wouldn't read as part of the path.

    MLflow makes the folder of a `sqlite:` URI as it is written, which would be another one.
    """
    path = str(file).replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}" if path == str(file) else f"sqlite+pysqlite:///{path}"


def artifacts_of(home: Path) -> str:
    """Return the URI of the artifact folder."""
    return (home.resolve() / "mlartifacts").as_uri()


def client_of(home: Path) -> Any:
    """Return MLflow's client for the database under `home`, which is created if it doesn't exist."""
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # the import lowers it
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # logs the traceback of errors that it raises
    _wait_less()
    _create(home)
    with suppress(sqlite3.Error):  # reported by whatever is called next
        follow(database_of(home), artifacts_of(home), tag=FOLDER_TAG)
    return MlflowClient(tracking_uri=address_of(home))


def exclusively(home: Path) -> AbstractContextManager[None]:
    """Lock the database for a block in which MLflow looks something up and creates it: experiment, dataset, model."""
    return exclusive(database_of(home))


def blocked(home: Path, patience: float = 0.0) -> str | None:
    """Return why the database can't be written, after waiting up to `patience` seconds for its lock; None if it can.

    Unlike SQLite's own wait this one ends at a signal.
    """
    deadline = time.monotonic() + patience
    while (error := _write_error(database_of(home))) is not None:
        if not _is_busy(error):
            return f"{database_of(home)}: {error}"
        if time.monotonic() >= deadline:
            return f"{database_of(home)} is locked by another program"
        time.sleep(_POLL)
    return None


def unavailable(error: Exception) -> bool:
    """Return True if a call failed because of the state of the database, so that any other call would fail too."""
    from sqlalchemy.exc import OperationalError

    return (
        isinstance(error, OperationalError | sqlite3.OperationalError)
        or getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE"
    )


def refuse_unusable(home: Path, experiment_name: str, *, patience: float | None = None) -> None:
    """Refuse an unusable database before any work.

    Args:
        home: root of the database, which is created if it doesn't exist.
        experiment_name: the MLflow experiment.
        patience: seconds to wait for a locked database; None accepts a locked one.

    Raises:
        InputError: it is damaged, read-only, of another version of MLflow, or stays locked; the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    file = database_of(home)
    if patience is not None and _is_busy(_write_error(file)) and (reason := blocked(home, patience)):
        raise InputError(f"{reason}: close that program, or give logger=csv")
    error: Exception | None = _write_error(file)
    experiment = None
    if error is None:
        try:
            experiment = client_of(home).get_experiment_by_name(experiment_name)
        except (MlflowException, SQLAlchemyError) as raised:
            error = None if unavailable(raised) else raised
    if error is not None and not _is_busy(error):
        raise InputError(_refusal(file, error)) from error
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise InputError(
            f"experiment_name={experiment_name}: this experiment was deleted in MLflow: choose another name, or "
            f"restore it (MLFLOW_TRACKING_URI={shlex.quote(address_of(home))} mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id})"
        )


def _refusal(file: Path, error: Exception) -> str:
    reason = str(error).partition("\n")[0]
    if versions := re.search(r"found version (\w+), but expected (\w+)", reason):
        upgrade = f"mlflow db upgrade {shlex.quote(f'sqlite:///{file}')}"
        return (
            f"{file} is of another version of MLflow (schema {versions[1]}, this version's is {versions[2]}): if it is "
            f"older, copy it and run {upgrade}; otherwise install the version that wrote it, or give logger=csv"
        )
    return f"{file} can't be used ({reason}): repair it or move it away, or give logger=csv"


@cache
def _wait_less() -> None:
    """Let MLflow wait 2 seconds for a locked database instead of 20, since it handles no signal meanwhile."""
    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def shorten(connection: Any, cursor: Any, statement: str, parameters: Any, *context: Any) -> tuple[str, Any]:
        waits = statement.startswith("PRAGMA busy_timeout")
        return (f"PRAGMA busy_timeout = {_MLFLOW_WAITS}" if waits else statement), parameters


def _create(home: Path) -> None:
    file = database_of(home)
    if file.is_file():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with exclusive(file):
        if not file.is_file():
            with TemporaryDirectory() as folder, atomic_path(file) as partial:  # SQLite has locks of its own on a file
                made = Path(folder, file.name)
                SqlAlchemyStore(_address(made), artifacts_of(home)).engine.dispose()
                shutil.copyfile(made, partial)


def _write_error(file: Path) -> sqlite3.Error | None:
    """The error that a write to the database would raise now, None for none."""
    if not file.exists():
        return None
    if not file.is_file() or not file.stat().st_size:
        return sqlite3.DatabaseError("it is empty" if file.is_file() else "it is no file")
    if not os.access(file, os.W_OK):  # SQLite reports it on writing, not on locking
        return sqlite3.OperationalError("it is read-only")
    uri = f"file:{quote(str(file))}?mode=rw"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")  # fails while there are readers, as committing a write would
            connection.execute("SELECT version_num FROM alembic_version")  # fails if it isn't MLflow's
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return error
    return None


def _is_busy(error: Exception | None) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY
