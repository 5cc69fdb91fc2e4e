"""A home that was moved or copied: its database follows, since MLflow saves whole paths."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

log = logging.getLogger(__name__)
_ARTIFACTS = "/mlartifacts"
_COLUMNS = (
    *(("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
)
"""Tables and columns with addresses of artifacts."""


def follow(database: Path, artifacts: str, *, tag: str) -> None:
    """Let a database name the artifacts and run folders below its own home in place of another one.

    Args:
        database: MLflow's database in the home.
        artifacts: URI of the home's artifact folder.
        tag: of a run, whose value is the run's folder.
    """
    with closing(sqlite3.connect(database, timeout=2)) as connection, connection:
        rows = connection.execute("SELECT artifact_location FROM experiments WHERE artifact_location LIKE 'file:%'")
        roots = {head + _ARTIFACTS for head, found, _ in (str(row[0]).rpartition(_ARTIFACTS) for row in rows) if found}
        for root in sorted(roots - {artifacts}):
            old = unquote(urlparse(root).path).removesuffix(_ARTIFACTS)
            for table, column in _COLUMNS:
                _replace(connection, f"UPDATE {table} SET {column}", column, (root, artifacts))
            moved = (old, str(database.parent))
            _replace(connection, "UPDATE tags SET value", f"key = '{tag}' AND value", moved)
            log.info("%s was moved from %s: MLflow's database follows", database.parent, old)


def _replace(connection: sqlite3.Connection, update: str, condition: str, paths: tuple[str, str]) -> None:
    """Replace the start of a column's paths; `update` and `condition` end with the column's name."""
    column, (old, new) = condition.rsplit(maxsplit=1)[-1], paths
    connection.execute(
        f"{update} = ? || substr({column}, ?) WHERE {condition} IS NOT NULL AND substr({column} || '/', 1, ?) = ?",
        (new, len(old) + 1, len(old) + 1, f"{old}/"),
    )
