"""Homes and files that the fault harness starts from."""

import json
import shutil
from pathlib import Path

import pytest

from tests.faults.faults import SMALL, start


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A corpus of 400 documents, beside it a file of one question."""
    file = tmp_path_factory.mktemp("corpus") / "docs.jsonl"
    file.write_text(
        "".join(json.dumps({"id": f"d{n}", "text": f"Bees dance {n} times. " * 9}) + "\n" for n in range(400))
    )
    file.with_name("queries.jsonl").write_text('{"id": "q", "text": "Why do bees dance?"}\n')
    return file


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A home with a finished run."""
    home = tmp_path_factory.mktemp("trained")
    done = start(home, home / "output", "train", *SMALL)
    assert done.wait() == 0, done.said
    return home


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A home with the prepared set and the model's files, but no run and no database."""
    home = tmp_path_factory.mktemp("prepared")
    done = start(home, home / "output", "train", *SMALL, "dry_run=true")
    assert done.wait() == 0, done.said
    shutil.rmtree(home / "outputs")
    (home / "output").unlink()
    return home
