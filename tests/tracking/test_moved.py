"""Homes that were moved or copied with their database."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from reasonir.tracking.base import Loggers, folder_of_run
from reasonir.tracking.database import client_of
from reasonir.tracking.open import open_tracking


def track(home, name="a run"):
    folder = home / "outputs" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("{}")
    (folder / "note.txt").write_text("x")
    tracking = open_tracking(Loggers(mlflow=True), home, experiment_name="p", name="x", folder=folder, tags={})
    with tracking.closing():
        tracking.artifact(folder / "note.txt")
    return tracking.run_id


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_moved_home_keeps_its_artifacts_and_finds_its_runs(tmp_path, move):
    old, new = tmp_path / "ä %20 old", tmp_path / "new, home"
    run_id = track(old)
    move(old, new)
    client = client_of(new)
    assert [each.path for each in client.list_artifacts(run_id)] == ["note.txt"]
    assert client.get_run(run_id).info.artifact_uri.startswith((new / "mlartifacts").as_uri())
    assert folder_of_run(run_id, new) == new / "outputs" / "a run"
    before = {file for file in tmp_path.rglob("*") if file.is_relative_to(old)}
    other = track(new, "another")
    assert {file for file in tmp_path.rglob("*") if file.is_relative_to(old)} == before
    assert (new / "mlartifacts" / other / "artifacts" / "note.txt").is_file()


def test_a_renamed_run_is_found_by_its_id(tmp_path):
    run_id = track(tmp_path)
    (tmp_path / "outputs" / "a run").rename(tmp_path / "outputs" / "renamed")
    assert folder_of_run(run_id, tmp_path) == tmp_path / "outputs" / "renamed"


def test_addresses_that_are_no_homes_stay(tmp_path):
    run_id = track(tmp_path / "home")
    database = tmp_path / "home" / "mlflow.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = 's3://bucket/mlartifacts/1' WHERE name = 'p'")
        connection.execute("UPDATE runs SET artifact_uri = 's3://bucket/mlartifacts/1/x'")
    assert client_of(tmp_path / "home").get_run(run_id).info.artifact_uri == "s3://bucket/mlartifacts/1/x"
