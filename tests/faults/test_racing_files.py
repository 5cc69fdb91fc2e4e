"""Commands of one home that write the same files at the same time: each ends well, and work is done once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reasonir.model.export import export
from reasonir.planning.budget_cache import BudgetCache
from tests.helpers import SENTENCES, load, tiny_bert

pytestmark = pytest.mark.slow
PREPARE = ("-m", "reasonir.prepare", "data=demo", "mining=bm25")
KEEP = """
import sys
from pathlib import Path
from reasonir.engine.step import Budget
from reasonir.planning.budget_cache import BudgetCache
for number in range(20):
    BudgetCache(Path(sys.argv[1]), f"{sys.argv[2]} {number}").keep(Budget(64 + number, 8))
"""
STORE = """
import sys
from pathlib import Path
from reasonir.data.files.corpus_store import store
from reasonir.model.tiny import Tiny
from reasonir.model.head.biencoder import BiEncoder
home = Path(sys.argv[1])
rows = lambda: [(str(number), f"text {number}", "here") for number in range(3000)]
for _ in range(3):
    found = store(rows, [home / "source"], home / "corpora", what="x")
    Tiny(path=str(home / "models"), head=BiEncoder.load).locate()
print(found.digest)
"""


def together(commands, home):
    """Run commands at the same time; return their outputs, or fail with what one of them said."""
    environment = {**os.environ, "REASONIR_HOME": str(home)}
    running = [
        subprocess.Popen([sys.executable, *command], env=environment, stdout=-1, stderr=-1, text=True)
        for command in commands
    ]
    ended = [(process, *process.communicate(timeout=500)) for process in running]
    for process, _, err in ended:
        assert process.returncode == 0, err
        assert "Traceback" not in err
    print(f"{len(ended)} commands at once: {len(ended)} tried, {len(ended)} held, 0 lost")
    return [(out, err) for _, out, err in ended]


def no_remains(folder: Path):
    assert [str(path) for path in folder.rglob("*.partial-*")] == []


def test_the_same_preparation(tmp_path):
    ended = together([PREPARE] * 4, tmp_path)
    made = [line for _, err in ended for line in err.splitlines() if "Prepared /" in line or "INFO: Prepared" in line]
    assert len([path for path in (tmp_path / "data").glob("demo-*") if path.is_dir()]) == 2
    assert len(made) == 2, made
    no_remains(tmp_path)


def test_the_same_search_index(tmp_path):
    export(load(tiny_bert(tmp_path / "tiny"), "colbert"), tmp_path / "model")
    corpus = tmp_path / "corpus.jsonl"
    rows = [{"id": str(number), "text": f"{SENTENCES[number % len(SENTENCES)]} {number}"} for number in range(600)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = (f"run={tmp_path / 'model'}", f"corpus={corpus}", "query=why does it rain", "hardware=cpu")
    ended = together([("-m", "reasonir.search", *words)] * 4, tmp_path)
    assert sum("Encoding 600 documents" in err for _, err in ended) == 1
    assert len({out for out, _ in ended}) == 1
    assert len(list((tmp_path / "indexes").iterdir())) == 1
    no_remains(tmp_path)


def test_the_budgets(tmp_path):
    file = tmp_path / "cache" / "budgets.json"
    together([("-c", KEEP, str(file), str(number)) for number in range(16)], tmp_path)
    kept = BudgetCache(file, "")._read()
    print(f"budgets: 320 written, {len(kept)} kept")
    assert len(kept) == 320


def test_the_same_corpus_and_the_same_tiny_model(tmp_path):
    (tmp_path / "source").write_text("x")
    ended = together([("-c", STORE, str(tmp_path))] * 6, tmp_path)
    assert len({out for out, _ in ended}) == 1
    assert all("written again" not in err for _, err in ended)
    no_remains(tmp_path)
