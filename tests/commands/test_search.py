"""Searching as a command: what is kept and when, the ways to ask, and what is wrong with a request."""

import contextlib
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from functools import partial

import pytest

import reasonir
from reasonir.eval.trec import read_run
from reasonir.inference.pruner import Pruner
from reasonir.inference.retriever import Retriever
from reasonir.model.export import export
from reasonir.types import Text
from tests.helpers import SENTENCES, load
from tests.running import run

HERE = ("hardware=cpu",)


@pytest.fixture(scope="module")
def models(bert, tmp_path_factory):
    """An exported retriever, reranker and pruner."""
    folder = tmp_path_factory.mktemp("models")
    for head in ("colbert", "cross_encoder", "provence"):
        export(load(bert, head), folder / head)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    file.write_text("\n".join(json.dumps({"id": f"d{n}", "text": text}) for n, text in enumerate(SENTENCES)))
    return file


@pytest.fixture(scope="module")
def place(tmp_path_factory, models, corpus):
    """A home in which the corpus was encoded once."""
    home = tmp_path_factory.mktemp("home")
    first = run("search", f"run={models / 'colbert'}", f"corpus={corpus}", "query=why does it rain", *HERE, home=home)
    assert first.status == 0, first.err
    assert "is cached in" in first.err
    return home


def cells(out):
    return [line.split("\t") for line in out.splitlines()]


def expected(models, query, top_k=3):
    retriever = reasonir.load(models / "colbert")
    retriever.add_documents(list(SENTENCES), [f"d{n}" for n in range(len(SENTENCES))])
    return retriever.retrieve(query, top_k)


def test_an_index_is_used_again_until_the_corpus_changes(place, models, corpus, tmp_path, monkeypatch):
    words = (f"run={models / 'colbert'}", "query=why does it rain", "top_k=3", *HERE)
    with monkeypatch.context() as patched:
        patched.setattr("reasonir.inference.index_cache._encode", None)
        again = run("search", f"corpus={corpus}", *words, home=place)
    assert again.status == 0, again.err
    assert "Model and corpus are unchanged: the index of 12 documents" in again.err
    hits = expected(models, "why does it rain")
    assert [row[3] for row in cells(again.out)] == [hit.id for hit in hits]
    assert [float(row[2]) for row in cells(again.out)] == pytest.approx([hit.score for hit in hits], abs=1e-5)
    assert [row[1] for row in cells(again.out)] == ["1", "2", "3"]
    other = tmp_path / "corpus.jsonl"
    other.write_text(corpus.read_text().replace("copper", "silver"))
    changed = run("search", f"corpus={other}", *words, home=place)
    assert "Encoding 12 documents" in changed.err
    assert len(list((place / "indexes").iterdir())) == 2


def test_a_damaged_index_is_made_anew(place, models, corpus):
    for folder in (place / "indexes").iterdir():
        (folder / "vectors.safetensors").write_bytes(b"half")
    words = (f"run={models / 'colbert'}", f"corpus={corpus}", "query=bees", *HERE)
    mended = run("search", *words, home=place)
    assert "is damaged and is rebuilt" in mended.err
    assert "unchanged" in run("search", *words, home=place).err


def test_an_encoding_that_is_interrupted_leaves_quietly_and_nothing_behind(models, corpus, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Retriever, "add_documents", interrupted)
    done = run("search", f"run={models / 'colbert'}", f"corpus={corpus}", "query=bees", *HERE, home=tmp_path)
    assert done.status == 130
    assert "Traceback" not in done.err
    assert not (tmp_path / "indexes").exists()


def test_a_saved_folder_is_searched(models, tmp_path):
    retriever = Retriever.load(models / "colbert")
    retriever.add_documents(list(SENTENCES))
    retriever.save(tmp_path / "saved")
    for name in (models / "colbert", "bm25"):
        done = run("search", f"run={name}", f"corpus={tmp_path / 'saved'}", "query=bees dance", *HERE, home=tmp_path)
        assert done.status == 0, done.err
        assert "6" in [row[3] for row in cells(done.out)]
    assert not (tmp_path / "indexes").exists()


def test_a_files_questions_are_answered_in_files(place, models, corpus, tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text(
        '{"id": "q1", "query": "bees"}\n{"id": "q2", "query": "why does it rain", "instruction": "Find causes."}\n'
    )
    stages = (f"reranker={models / 'cross_encoder'}", f"pruner={models / 'provence'}", "threshold=0.5", "candidates=5")
    words = (f"run={models / 'colbert'}", f"corpus={corpus}", f"queries={file}", "top_k=4", *stages, *HERE)
    done = run("search", *words, home=place)
    assert done.status == 0, done.err
    assert "instructions are ignored" in done.err
    assert done.out == ""
    rows = [json.loads(line) for line in (done.folder / "results.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["q1", "q2"]
    pruner, reranker = Pruner.load(models / "provence", threshold=0.5), reasonir.load(models / "cross_encoder")
    for row in rows:
        asked = Text(row["query"], "Find causes." if row["id"] == "q2" else "")
        texts = {hit.id: hit.text for hit in expected(models, row["query"], 5)}
        scores = dict(zip(texts, reranker.score(asked, list(texts.values())), strict=True))
        best = sorted(scores, key=lambda each: -scores[each])[:4]
        kept = [pruned.text for pruned in pruner.prune(asked, [texts[each] for each in best])]
        assert [(hit["id"], hit["text"], hit["kept"]) for hit in row["hits"]] == [
            (each, texts[each], left) for each, left in zip(best, kept, strict=True)
        ]
        assert [hit["score"] for hit in row["hits"]] == pytest.approx([scores[each] for each in best], abs=1e-5)
    ranked = read_run(done.folder / "run.trec")
    assert {name: set(found) for name, found in ranked.items()} == {
        row["id"]: {hit["id"] for hit in row["hits"]} for row in rows
    }


def test_a_pipe_is_answered_line_by_line(models, corpus, tmp_path):
    words = [f"run={models / 'cross_encoder'}", f"corpus={corpus}", "top_k=1", *HERE]
    process = subprocess.Popen(
        [sys.executable, "-m", "reasonir.search", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "REASONIR_HOME": str(tmp_path)},
    )
    process.stdin.write("bees dance\n")
    process.stdin.flush()
    assert process.stdout.readline().split("\t")[3] == "d6"  # answered while the pipe is open
    out, err = process.communicate("\ncopper\nxyzzy\n", timeout=120)
    assert process.returncode == 0, err
    assert "is a reranker: BM25 finds its candidates" in err
    assert [(row[0], row[3], row[4]) for row in cells(out)] == [("copper", "d5", "copper")]


def test_bytes_that_are_no_text_are_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"bees dance\n\xff\n"), encoding="utf-8"))
    for query, message in (([], "standard input isn't UTF-8"), (["query='bees\udcff'"], "half of a surrogate pair")):
        done = run("search", "run=bm25", f"corpus={corpus}", *query, *HERE, home=tmp_path)
        assert done.status == 2
        assert message in done.err


def prompted(monkeypatch, typed):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(typed))


def test_a_prompt_answers_until_it_is_left(corpus, tmp_path, monkeypatch):
    prompted(monkeypatch, "bees dance\n\n")
    done = run("search", "run=bm25", f"corpus={corpus}", "top_k=1", *HERE, home=tmp_path)
    assert done.status == 0, done.err
    assert done.out.startswith("12 documents. Type a query; Ctrl-D quits.\n> bees dance\t1\t")
    assert "Traceback" not in done.err


def test_a_terminal_is_left_quietly(corpus, tmp_path):
    """Ctrl-C on a real terminal, after an answer laid out to be read."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "reasonir.search", "run=bm25", f"corpus={corpus}", "top_k=1", *HERE],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "REASONIR_HOME": str(tmp_path), "TERM": "dumb", "COLUMNS": "100"},
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )
    os.close(theirs)
    read_until(ours, "quits.", "> ")
    os.write(ours, b"bees dance\n")
    seen = read_until(ours, " ms", "> ")
    assert interrupted(process) == 0, seen
    assert "bees dance to tell where the flowers are" in seen
    assert "d6" in seen
    assert "Traceback" not in os.read(ours, 4096).decode()
    os.close(ours)


def interrupted(process):
    """Its status after Ctrl-C, pressed once more if it came before `input` had begun to read, which overlooks it."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    process.send_signal(signal.SIGINT)
    return process.wait(60)


def read_until(terminal, *wanted):
    """What is printed until all of it was, in this order."""
    seen, end = "", 0
    for each in wanted:
        while (found := seen.find(each, end)) < 0:
            assert select.select([terminal], [], [], 120)[0], seen
            seen += os.read(terminal, 1024).decode()
        end = found + len(each)
    return seen


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("query=a", "queries=b"), "give one of them"),
        (("query=' '",), "query= : give a text that isn't blank"),
        (("query=a", "top_k=0"), "top_k=0: give 1 or more"),
        (("query=a", "run={models}/cross_encoder", "candidates=5"), "candidates=5 is below top_k=10"),
        (("query=a", "threshold=2"), "threshold=2: give 0 or more, below 1"),
        (("queries=none.txt",), "queries=none.txt doesn't exist"),
        (("query=a", "corpus=/none.jsonl"), "corpus=/none.jsonl doesn't exist"),
        (("query=a", "run=/none"), "/none"),
        (("query=a", "reranker={models}/colbert"), "holds a retriever: give a reranker"),
    ],
)
def test_wrong_requests_are_refused(words, message, models, corpus, tmp_path):
    given = [word.format(models=models) for word in words]
    defaults = [
        word for word in ("run=bm25", f"corpus={corpus}") if word.split("=")[0] not in {w.split("=")[0] for w in given}
    ]
    done = run("search", *defaults, *given, *HERE, home=tmp_path)
    assert done.status == 2
    assert message in done.err
