"""What MLflow's interface has no call for, in its tables: points are deleted, and runs are found by their folder.

The tables are those of MLflow 3.17. `refuse_unusable` refuses a database of another version before any command.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from reasonir.tracking.database import FOLDER_TAG, database_of

OUTPUT_TAG = "reasonir.output"
"""Tag of a run with the folder of the command that opened it, which is locked while the run is open."""
_SECONDS = 2.0
"""Wait for a locked database."""
_LATEST = (
    "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
    "SELECT key, value, timestamp, step, is_nan, run_uuid FROM (SELECT *, ROW_NUMBER() OVER "
    "(PARTITION BY key ORDER BY step DESC, timestamp DESC, value DESC) AS rank FROM metrics WHERE run_uuid = ?) "
    "WHERE rank = 1"
)


def delete_curves(home: Path, run_id: str, *, after: int, before: int) -> None:
    """Delete the points of steps after `after` that were logged before the time `before`, in milliseconds.

    Results (step 0) and system metrics, which count samples instead of steps, are kept.
    """
    condition = "run_uuid = ? AND step > ? AND timestamp < ? AND key NOT LIKE 'system/%'"
    _delete_points(home, run_id, condition, (run_id, after, before))


def delete_results(home: Path, run_id: str, names: Sequence[str]) -> None:
    """Delete results (step 0) by name, so that others can take their place."""
    places = ", ".join("?" * len(names))
    _delete_points(home, run_id, f"run_uuid = ? AND step = 0 AND key IN ({places})", (run_id, *names))


def run_of_output(home: Path, folder: Path) -> str | None:
    """Return the id of the run that a command opened in `folder`, None without one or if it was deleted."""
    with _connected(home) as connection:
        row = connection.execute(
            "SELECT run_uuid FROM runs JOIN tags USING (run_uuid) WHERE lifecycle_stage = 'active' "
            "AND tags.key = ? AND tags.value = ? ORDER BY start_time DESC",
            (OUTPUT_TAG, str(folder.resolve())),
        ).fetchone()
    return row and str(row[0])


def open_runs(home: Path) -> dict[str, Path]:
    """Return the folder of each run that reads RUNNING, by the run's id."""
    with _connected(home) as connection:
        rows = connection.execute(
            "SELECT run_uuid, tags.value FROM runs JOIN tags USING (run_uuid) WHERE lifecycle_stage = 'active' "
            "AND status = 'RUNNING' AND tags.key IN (?, ?) ORDER BY tags.key = ?",
            (OUTPUT_TAG, FOLDER_TAG, OUTPUT_TAG),
        ).fetchall()
    return {run_id: Path(folder) for run_id, folder in rows}  # the output's folder comes last


def delete_output(home: Path, run_id: str, model_id: str) -> None:
    """Remove a logged model from the outputs of a run."""
    with _connected(home) as connection:
        connection.execute("DELETE FROM inputs WHERE source_id = ? AND destination_id = ?", (run_id, model_id))


def _delete_points(home: Path, run_id: str, condition: str, values: Sequence[object]) -> None:
    with _connected(home) as connection:
        if connection.execute(f"DELETE FROM metrics WHERE {condition}", values).rowcount:
            connection.execute("DELETE FROM latest_metrics WHERE run_uuid = ?", (run_id,))
            connection.execute(_LATEST, (run_id,))


@contextmanager
def _connected(home: Path) -> Iterator[sqlite3.Connection]:
    """Connect for one transaction."""
    with closing(sqlite3.connect(database_of(home), timeout=_SECONDS)) as connection, connection:
        yield connection
