"""MLflow's SQLite database under the home folder: created once, used without a lock, waited for while it is locked.

Creating it takes seconds of migrations, which two processes can't run at once and a kill may cut short. So one process
runs them on a temporary file and renames that to mlflow.db.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import AbstractContextManager, closing
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reasonir.errors import InputError
from reasonir.utils.files import atomic_path, exclusive

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_POLL = 0.1
_MLFLOW_WAITS = 2000
"""Milliseconds."""


def database_of(home: Path) -> Path:
    """The file of the database."""
    return home.resolve() / "mlflow.db"


def address_of(home: Path) -> str:
    """The tracking URI of the database."""
    return f"sqlite:///{database_of(home)}"


def artifacts_of(home: Path) -> str:
    """The URI of the folder that artifacts are copied to."""
    return (home.resolve() / "mlartifacts").as_uri()


def client_of(home: Path) -> Any:
    """MLflow's client for the database under `home`, which is created if it isn't there."""
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # importing it makes it talkative
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # prints the traceback of what it raises
    _wait_less()
    _create(home)
    return MlflowClient(tracking_uri=address_of(home))


def exclusively(home: Path) -> AbstractContextManager[None]:
    """A block for what MLflow looks up and then creates: experiments, datasets, registered models."""
    return exclusive(database_of(home))


def blocked(home: Path, patience: float = 0.0) -> str | None:
    """Why nothing can be written to the database, after waiting up to `patience` seconds for its lock; None if it can.

    Unlike a wait of SQLite's own this one ends when a signal comes.
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
    """Whether a call failed for the state of the database, so that any other call would fail as well."""
    from sqlalchemy.exc import OperationalError

    return isinstance(error, OperationalError) or getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE"


def refuse_unusable(home: Path, experiment_name: str, *, patience: float | None = None) -> None:
    """Refuse a database that nothing can be tracked in, before any work.

    Args:
        home: the database is under it, or is created there.
        experiment_name: the experiment.
        patience: how many seconds a locked database is waited for; None accepts it as it is.

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
        raise InputError(f"{file} can't be used ({error}): repair it or move it away, or give logger=csv") from error
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise InputError(
            f"experiment_name={experiment_name}: this experiment was deleted in MLflow: choose another name, or "
            f"restore it (mlflow experiments restore --experiment-id {experiment.experiment_id})"
        )


@cache
def _wait_less() -> None:
    """Let MLflow wait 2 seconds for a locked database, not 20: no signal is handled meanwhile, and `blocked` waits."""
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
            with atomic_path(file) as partial:
                SqlAlchemyStore(f"sqlite:///{partial}", artifacts_of(home)).engine.dispose()


def _write_error(file: Path) -> sqlite3.Error | None:
    """Why nothing can be written now."""
    if not file.is_file():
        return None
    if not os.access(file, os.W_OK):  # SQLite says so when it writes, not when it locks
        return sqlite3.OperationalError("it is read-only")
    uri = f"file:{quote(str(file))}?mode=rw"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")  # a reader blocks a write as well, when it is committed
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        return error
    return None


def _is_busy(error: Exception | None) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY
