"""MLflow's database: created once, whoever comes first, and refused or waited for before any work."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from mlflow.exceptions import MlflowException

from reasonir.errors import InputError
from reasonir.model.export import export
from reasonir.tracking.database import blocked, client_of, database_of, refuse_unusable
from reasonir.tracking.model_registry import METRIC
from reasonir.tracking.outbox import UNDELIVERED
from tests.helpers import load
from tests.running import run
from tests.runs.locking import locked

CREATE = "import sys; from pathlib import Path; from reasonir.tracking.database import client_of; " + (
    "print(len(client_of(Path(sys.argv[1])).search_experiments()))"
)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A home with a database."""
    folder = tmp_path_factory.mktemp("home")
    client_of(folder)
    return database_of(folder)


def creating(home):
    return subprocess.Popen([sys.executable, "-c", CREATE, str(home)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_two_first_processes_create_one_database(tmp_path):
    both = [creating(tmp_path) for _ in range(2)]
    assert [process.communicate()[0] for process in both] == [b"1\n", b"1\n"]
    assert [process.returncode for process in both] == [0, 0]


def test_a_kill_while_it_is_created_leaves_nothing_that_looks_finished(tmp_path):
    process = creating(tmp_path)
    while not list(tmp_path.glob("mlflow.db.partial*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not database_of(tmp_path).exists()
    assert [each.name for each in client_of(tmp_path).search_experiments()] == ["Default"]


def test_a_locked_database_is_waited_for(database):
    home = database.parent
    assert blocked(home) is None
    with locked(database):
        started = time.monotonic()
        assert blocked(home, 0.3) == f"{database} is locked by another program"
        assert 0.3 <= time.monotonic() - started < 1.5
    assert blocked(home, 5.0) is None


def test_mlflow_itself_gives_up_soon(database):
    client = client_of(database.parent)
    with locked(database):
        started = time.monotonic()
        with pytest.raises(MlflowException, match="database is locked"):
            client.create_experiment("e")
        assert time.monotonic() - started < 10


def test_a_reader_blocks_as_a_writer_does(database):
    home = database.parent
    reader = sqlite3.connect(database, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM experiments").fetchall()
    assert "is locked" in blocked(home)
    reader.close()
    assert blocked(home) is None


def test_a_locked_database_is_accepted_before_work_unless_a_run_has_to_be_made_now(database):
    home = database.parent
    with locked(database):
        refuse_unusable(home, "p")
        with pytest.raises(InputError, match=r"mlflow.db is locked by another program: close that program, or give"):
            refuse_unusable(home, "p", patience=0.1)


def of_version(number):
    """Return a database's bytes with another version of its tables."""

    def changed(whole, folder):
        (folder / "other.db").write_bytes(whole)
        with closing(sqlite3.connect(folder / "other.db")) as connection, connection:
            connection.execute(f"UPDATE alembic_version SET version_num = '{number}'")
        return (folder / "other.db").read_bytes()

    return changed


def of_another_program(whole, folder):
    with closing(sqlite3.connect(folder / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE birds (name)")
    return (folder / "other.db").read_bytes()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole, folder: b"", r"can't be used \(it is empty\)"),
        (lambda whole, folder: whole[:100], r"can't be used \(.*malformed\)"),
        (lambda whole, folder: whole[:4096], r"can't be used \(.*malformed\)"),
        (lambda whole, folder: whole[: len(whole) // 2], r"can't be used \(.*malformed\)"),
        (lambda whole, folder: whole[:-5000], r"can't be used \(.*malformed\)"),
        (of_another_program, r"can't be used \(no such table: alembic_version\)"),
        (of_version("451aebb31d03"), r"is of another version of MLflow \(schema 451aebb31d03, .*mlflow db upgrade"),
        (of_version("ffffffffffff"), r"is of another version .*otherwise install the version that wrote it"),
    ],
)
def test_a_damaged_or_foreign_database_is_told_in_one_line(tmp_path, database, damage, said):
    database_of(tmp_path).write_bytes(damage(database.read_bytes(), tmp_path))
    with pytest.raises(InputError, match=rf"mlflow.db {said}.*give logger=csv$") as refused:
        refuse_unusable(tmp_path, "p")
    assert "\n" not in str(refused.value)


def test_a_folder_in_the_place_of_the_database_is_told(tmp_path):
    database_of(tmp_path).mkdir()
    with pytest.raises(InputError, match=r"can't be used \(it is no file\)"):
        refuse_unusable(tmp_path, "p")


def test_what_cannot_be_used_is_said_before_any_work(tmp_path):
    database_of(tmp_path).write_bytes(b"this is no database, whatever its name says" * 100)
    for command in (
        ("train", "experiment=demo_tiny"),
        ("train", "-m", "experiment=demo_tiny", "seed=1,2"),
        ("evaluate", "model=tiny", "eval=demo"),
        ("bench", "model=tiny"),
    ):
        refused = run(*command, "logger=mlflow", home=tmp_path)
        assert refused.status == 2, refused.err
        assert "mlflow.db can't be used" in refused.err
        assert "Traceback" not in refused.err
    assert not list(tmp_path.glob("data/demo*"))


def test_a_database_that_is_read_only_is_refused(database, monkeypatch):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != database and access(path, mode))  # root may write all
    with pytest.raises(InputError, match=rf"{database} can't be used \(it is read-only\)"):
        refuse_unusable(database.parent, "p")


def test_an_experiment_that_was_deleted_is_named(database):
    home = database.parent
    client = client_of(home)
    number = client.create_experiment("gone")
    client.delete_experiment(number)
    with pytest.raises(InputError, match=rf"experiment_name=gone: .+ was deleted .+restore --experiment-id {number}"):
        refuse_unusable(home, "gone")


@pytest.mark.slow
def test_first_commands_in_an_empty_home_all_work(tmp_path, bert):
    home, corpus = tmp_path / "home", tmp_path / "docs.txt"
    corpus.write_text("Warm air rises.\nCopper conducts.\n")
    export(load(bert, "biencoder"), tmp_path / "model")
    small = ("experiment=demo_tiny", "model/head=biencoder", "trainer.max_steps=1", "evaluation.baselines=[]")
    commands = [
        ("train", *small, "seed=1"),
        ("train", "-m", *small, "seed=2,3"),
        ("evaluate", "model=tiny", "model/head=biencoder", "eval=bright_mini", "evaluation.baselines=[]"),
        ("search", f"run={tmp_path / 'model'}", f"corpus={corpus}", "package=true"),
    ]
    together = [
        subprocess.Popen(
            [sys.executable, "-m", f"reasonir.{command}", *words, "logger=mlflow"],
            env={**os.environ, "REASONIR_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command, *words in commands
    ]
    errors = [process.communicate()[1] for process in together]
    assert [process.returncode for process in together] == [0] * 4, errors
    client = client_of(home)
    runs = client.search_runs([client.get_experiment_by_name("reasonir").experiment_id])
    assert [each.info.status for each in runs] == ["FINISHED"] * 6  # the sweep's two jobs and itself among them
    versions = client.search_model_versions("name='demo-biencoder'")
    assert sorted(int(each.version) for each in versions) == [1, 2, 3]
    best = client.get_model_version_by_alias("demo-biencoder", "best")
    assert float(best.tags[METRIC]) == max(float(each.tags[METRIC]) for each in versions)
    assert not list(home.rglob("*.partial*"))
    assert not list(home.rglob(UNDELIVERED))
