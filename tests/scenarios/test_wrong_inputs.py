"""Mistakes of users: one message each with location, value and remedy, and exit status 2."""

import json

import pytest
import torch

from tests.data.test_beir import CORPUS, write
from tests.running import run

TINY = (
    "model=tiny",
    "hardware=cpu",
    "logger=csv",
    "loader.workers=0",
    "trainer.max_steps=1",
    "evaluation.baselines=[]",
)
DEMO = (*TINY, "data=demo", "eval=demo")


def jsonl(folder, *rows):
    (folder / "t.jsonl").write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(folder / "t.jsonl")


def triplets(folder, *rows):
    return (*TINY, "data=triplets", f"data.path={jsonl(folder, *rows)}", "eval=demo")


def beir(folder, **change):
    return (*TINY, "data=beir", "data.strict=true", f"data.path={write(folder / 'col', **change)}", "eval=demo")


def own_loss(folder):
    """A loss of the user's own, in a module and a YAML of the working directory, that trains another kind of head."""
    (folder / "conf" / "loss").mkdir(parents=True)
    (folder / "conf" / "loss" / "pairs.yaml").write_text("_target_: users_losses.Pairs\n")
    (folder / "users_losses.py").write_text(
        "class Pairs:\n    accepts = frozenset({'reranker'})\n    def __call__(self, judged): ...\n"
    )
    return (*DEMO, "loss=pairs")


def damaged(folder):
    run_folder = folder / "outputs" / "broken"
    (run_folder / "checkpoints").mkdir(parents=True)
    (run_folder / ".hydra").mkdir()
    (run_folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {word}\n" for word in DEMO))
    (run_folder / "checkpoints" / "step_00000003.ckpt").write_bytes(b"PK\x03\x04 half of a checkpoint")
    return run_folder


WRONG = {
    "key of one swept option": (
        lambda f: ("-m", *DEMO, "model/head=colbert,biencoder", "model.head.query_length=32"),
        ["with model/head=biencoder: model.head.query_length", "model.head has no 'query_length'"],
    ),
    "temperature below zero": (lambda f: (*DEMO, "loss.temperature=-1"), ["temperature=-1", "give a number above 0"]),
    "misspelt key": (lambda f: (*DEMO, "loss.temprature=1"), ["loss.temprature", "did you mean 'temperature'"]),
    "misspelt section": (lambda f: (*DEMO, "optm.lr=1"), ["optm", "did you mean 'optim'"]),
    "unknown added key": (
        lambda f: (*DEMO, "+trainer.max_stepss=1"),
        ["trainer.max_stepss", "did you mean 'max_steps'"],
    ),
    "wrong group option": (lambda f: (*DEMO, "hardware=t44"), ["hardware=t44", "did you mean 't4'", "rtx4090"]),
    "not an override": (lambda f: (*DEMO, "loader.batch_size"), ["loader.batch_size"]),
    "wrong type": (
        lambda f: (*DEMO, "loader.batch_size=many"),
        ["loader.batch_size='many'", "expected a whole number"],
    ),
    "out of range": (lambda f: (*DEMO, "loader.batch_size=1"), ["loader.batch_size=1", "give 2 or more"]),
    "unknown schedule": (
        lambda f: (*DEMO, "optim.schedule=linaer"),
        ["optim.schedule=linaer", "linear, cosine or constant (did you mean 'linear'?)"],
    ),
    "unknown baseline": (
        lambda f: (*DEMO, "evaluation.baselines=[bm52]"),
        ["evaluation.baselines[0]=bm52: choose random, bm25 or untrained", "bm25"],
    ),
    "unknown logger": (lambda f: (*DEMO, "logger=mlfow"), ["logger=mlfow", "did you mean 'mlflow'"]),
    "missing value": (lambda f: (*TINY, "data=beir", "eval=demo"), ["data.path is missing", "give data.path="]),
    "head and loss": (own_loss, ["ColBERT is a retriever", "Pairs trains reranker heads", "choose another loss="]),
    "words as index": (lambda f: (*DEMO, "index=bm25"), ["index=", "choose index=exact"]),
    "bf16 on a T4": (
        lambda f: (*DEMO, "hardware=t4", "hardware.precision=bf16-mixed"),
        ["hardware.precision=bf16-mixed", "t4 doesn't support it", "16-mixed"],
    ),
    "no such model": (
        lambda f: (*DEMO, "model=any", "model.path=nobody/nothing"),
        ["model.path=nobody/nothing can't be reached", "model=tiny"],
    ),
    "no such layer": (
        lambda f: (*DEMO, "model.lora.rank=2", "model.lora.targets=[q_proj]"),
        ["model.lora.targets names q_proj", "query"],
    ),
    "too many frozen layers": (lambda f: (*DEMO, "model.freeze_layers=9"), ["model.freeze_layers=9", "2 layers"]),
    "beyond the positions": (
        lambda f: (*DEMO, "model.head.document_length=513"),
        ["model.head.document_length=513", "512 or less"],
    ),
    "no such file": (
        lambda f: (*TINY, "data=triplets", "data.path=/no/such.jsonl", "eval=demo"),
        ["data.path=/no/such.jsonl doesn't exist"],
    ),
    "malformed row": (
        lambda f: triplets(f, {"query": "q", "positive": "p"}, '{"query": '),
        ["t.jsonl, line 2", "not valid JSON", "fix the row"],
    ),
    "row without a positive": (
        lambda f: triplets(f, {"query": "q", "positive": "p"}, {"query": "r", "positive": ""}),
        ["t.jsonl, line 2", "'positive' is ''"],
    ),
    "empty corpus": (lambda f: beir(f, corpus=[]), ["corpus.jsonl has no document with a text"]),
    "judged document unknown": (
        lambda f: beir(f, corpus=CORPUS[:1]),
        ["train.tsv, line 3: d 2", "judgements of missing documents"],
    ),
    "query without positives": (
        lambda f: beir(f, qrels=[("q1", "d1", 1), ("q2", "d3", 0)]),
        ["train.tsv, line 3: q2", "queries without a relevant document"],
    ),
    "no such split": (
        lambda f: (*TINY, "data=demo", "eval=beir", f"eval.path={write(f / 'col')}", "eval.split=test"),
        ["eval.split=test", "choose one of train"],
    ),
    "hold-out too large": (
        lambda f: (*triplets(f, *({"query": f"q{i}", "positive": "same"} for i in range(9))), "loader.dev_size=0.3"),
        ["loader.dev_size=0.3", "loader.dev_size=0"],
    ),
    "damaged checkpoint in a folder": (lambda f: (f"resume={damaged(f)}",), ["only damaged checkpoints"]),
    "damaged checkpoint": (
        lambda f: (f"resume={damaged(f) / 'checkpoints' / 'step_00000003.ckpt'}",),
        ["step_00000003.ckpt can't be read", "start a new run: there is no other checkpoint"],
    ),
    "no such run": (lambda f: (f"resume={f / 'nothing'}",), ["resume=", "there is no", "give the folder of a run"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_clear_message_and_a_failing_status(case, home, tmp_path, monkeypatch):
    arguments, expected = WRONG[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    done = run("train", *arguments(tmp_path), home=home)
    assert done.status == 2, done.err
    assert "Traceback" not in done.err
    message = done.err[done.err.rindex("reasonir: ") :]
    for part in expected:
        assert part in message, message
    assert message.count("\n") <= 4, message
    assert done.folder is None or not (done.folder / "results.json").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run=no-such-id",), "run=no-such-id is no folder"),
        ((), "name a run (run=outputs/...) or a model (model=minilm)"),
        (("run={tmp}",), "is no tracked run: it has no config.yaml"),
    ],
)
def test_evaluate_says_what_it_misses(arguments, expected, tmp_path):
    done = run("evaluate", "logger=csv", *(word.format(tmp=tmp_path) for word in arguments), home=tmp_path)
    assert done.status == 2
    assert expected in done.err


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("train", *DEMO, home=tmp_path / "file" / "home")
    assert done.status == 2
    assert "can't be written" in done.err
    assert "REASONIR_HOME" in done.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_hub_and_gpu_both_are_named_at_once(home, hub):
    done = run("train", "model=qwen", "hardware=t4", "data=demo", "eval=demo", home=home)
    assert done.status == 2
    assert "2 requirements not met" in done.err
    assert "hardware=t4 needs an NVIDIA GPU" in done.err
    assert "choose hardware=cpu" in done.err
    assert "Qwen/Qwen3-Embedding-0.6B can't be reached" in done.err


def test_every_mistake_comes_in_one_block(home):
    done = run("train", "model=qwn", "loss.temprature=1", "hardware=t44", "+optim.lrr=3", home=home)
    message = done.err[done.err.rindex("reasonir: ") :]
    assert message.startswith("reasonir: 4 mistakes in the configuration:")
    for part in ("'qwen'", "'temperature'", "'t4'", "'lr'"):
        assert f"did you mean {part}" in message
