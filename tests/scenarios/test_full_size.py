"""Models of published sizes on this CPU: trained, stopped, resumed, exported, and opened by the library of their head.

Weights are random and written to a temporary folder. The table of docs/performance.md, "Full size on a CPU":

    python -m pytest -s -m slow tests/scenarios/test_full_size.py             # all of it
    python -m pytest -s -m slow tests/scenarios/test_full_size.py -k mpnet    # one model

A case is skipped where less memory is free than it needs.
"""

import csv
import gc
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
import torch
import transformers

import reasonir
from reasonir.model.tiny import chat_tokenizer, word_tokenizer, write_random
from reasonir.types import Pair, Text
from tests.helpers import SENTENCES
from tests.model.head.test_yes_no import whole_scores

pytestmark = pytest.mark.slow
STEPS = 4
STOPPED_FROM = 2
"""From the second step on a step has the optimiser's state."""
QWEN = {
    "vocab_size": 151_669,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
GEMMA = {
    "vocab_size": 262_144,
    "hidden_size": 768,
    "intermediate_size": 1152,
    "num_hidden_layers": 24,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 512,
    "use_bidirectional_attention": True,
}


@dataclass(frozen=True)
class Size:
    """A published model's dimensions: its class, what differs from its configuration's defaults, and parameters."""

    config: str
    model: str
    options: dict[str, Any]
    parameters: int
    needs_gib: float
    chat: bool = False


SIZES = {
    "mpnet": Size("MPNetConfig", "MPNetModel", {"max_position_embeddings": 514}, 109_486_464, 4),
    "modernbert": Size("ModernBertConfig", "ModernBertModel", {}, 149_014_272, 5),
    "embeddinggemma": Size("Gemma3TextConfig", "Gemma3TextModel", GEMMA, 302_863_104, 9),
    "qwen3": Size("Qwen3Config", "Qwen3Model", QWEN, 595_776_512, 13),
    "qwen3_chat": Size("Qwen3Config", "Qwen3ForCausalLM", QWEN, 595_776_512, 13, chat=True),
}
HEADS = {
    "biencoder": ("model.head.pooling=mean", "model.head.max_length=64"),
    "colbert": ("model.head.query_length=32", "model.head.document_length=64"),
    "yes_no": ("model.head.max_length=128",),
}
VARIANTS = {"adamw": (), "adafactor": ("optim.name=adafactor",), "lora": ("model.lora.rank=16",)}
"""All weights with either optimiser, and the adapters of model=qwen_reranker."""
CASES = [
    ("mpnet", "biencoder", "adamw"),
    ("modernbert", "colbert", "adamw"),
    ("embeddinggemma", "biencoder", "adamw"),
    ("qwen3", "colbert", "adamw"),
    ("qwen3", "colbert", "adafactor"),
    ("qwen3_chat", "yes_no", "adamw"),
    ("qwen3_chat", "yes_no", "lora"),
]


@pytest.fixture(scope="module")
def table():
    """Rows of the table, printed at the end."""
    rows = []
    yield rows
    print("\n| model | head | precision | tokens a step | plan GiB | measured peak GiB | seconds a step |")
    print("|---|---|---|--:|--:|--:|--:|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """GiB of a training's process without its model: of one with a model that needs next to nothing."""
    home = tmp_path_factory.mktemp("tiny")
    assert start("experiment=demo_tiny", "trainer.max_steps=1", "evaluation.baselines=[]", home=home).wait() == 0
    return logged(run_of(home), "train/peak_memory_gib")[1]


def write_checkpoint(folder, size):
    """A checkpoint of the size, with the tiny models' tokenizer."""
    config = getattr(transformers, size.config)(**size.options)
    if size.chat:
        tokenizer = chat_tokenizer(2000, rows=config.vocab_size)
    else:
        tokenizer = word_tokenizer(2000, rows=config.vocab_size, model_input_names=["input_ids", "attention_mask"])
    for name in ("pad", "cls", "sep", "bos", "eos"):
        if hasattr(config, f"{name}_token_id"):
            setattr(config, f"{name}_token_id", getattr(tokenizer, f"{name}_token_id"))

    def build(config):
        model = getattr(transformers, size.model)(config)
        assert sum(parameter.numel() for parameter in model.parameters()) == size.parameters
        return model

    write_random(folder, build, config, tokenizer)


def write_rows(file):
    """Rows whose documents differ in length, up to the limit of the heads."""
    rows = [
        {
            "query": f"why {SENTENCES[number % 12]} {number}",
            "positive": f"{number} " + f"{SENTENCES[number % 12]} " * (1 + number % 5),
            "negative": f"{number} " + f"{SENTENCES[(number + 5) % 12]} " * (1 + (number + 2) % 5),
        }
        for number in range(24)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))


def start(*arguments, home):
    """A training in a process of its own, whose freed memory goes back to the system and so is not measured."""
    environment = {**os.environ, "REASONIR_HOME": str(home), "MALLOC_MMAP_THRESHOLD_": "1048576"}
    with (home / "err.txt").open("w") as err:
        command = [sys.executable, "-m", "reasonir.train", *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=err)


def logged(folder, name):
    """A metric's values by step; none before there is a file."""
    file = folder / "metrics.csv"
    rows = csv.reader(file.open()) if file.exists() else []
    return {int(step): float(value) for step, metric, value in rows if metric == name}


def run_of(home):
    return next(iter((home / "outputs").glob("*")), home)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(("name", "head", "variant"), CASES)
def test_a_model_of_a_published_size_trains_resumes_and_is_opened_elsewhere(
    tmp_path, table, libraries, name, head, variant, precision
):
    size = SIZES[name]
    free, needed = psutil.virtual_memory().available / 2**30, size.needs_gib / (1 if variant == "adamw" else 2)
    if free < needed:
        pytest.skip(f"{free:.1f} GiB are free, {needed} are needed")
    write_checkpoint(tmp_path / "checkpoint", size)
    write_rows(tmp_path / "rows.jsonl")
    gc.collect()
    chosen = ("model=any", f"model.path={tmp_path}/checkpoint", f"model/head={head}", *HEADS[head], *VARIANTS[variant])
    data = ("data=triplets", f"data.path={tmp_path}/rows.jsonl", "loader.batch_size=2", "loader.workers=0")
    held_out = ("loader.dev_size=2", "loader.test_size=2", "loader.dev_documents=4", "evaluation.baselines=[]")
    steps = (f"trainer.max_steps={STEPS}", "trainer.log_every_n_steps=1", "checkpoint.keep_last=1", "optim.lr=1e-5")
    device = ("hardware=cpu", f"hardware.precision={precision}", "hardware.memory_gib=22", "logger=csv")
    process = start(*chosen, *data, *held_out, *steps, *device, home=tmp_path)
    while process.poll() is None and len(logged(run_of(tmp_path), "train/loss")) < STOPPED_FROM:
        time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM, (tmp_path / "err.txt").read_text()
    folder = run_of(tmp_path)
    assert STOPPED_FROM <= len(logged(folder, "train/loss")) < STEPS
    peak = max(logged(folder, "train/peak_memory_gib").values()) - libraries
    assert start(f"resume={folder}", home=tmp_path).wait() == 0, (tmp_path / "err.txt").read_text()
    assert list(logged(folder, "train/loss")) == [*range(1, STEPS + 1)]
    plan = json.loads((folder / "plan.json").read_text())
    seconds = statistics.median(list(logged(folder, "train/seconds").values())[1:])
    row = (
        name.removesuffix("_chat"),
        f"{head}, {variant}",
        precision,
        f"{plan['tokens_per_step']:,}",
        f"{plan['total_gib']:.2f}",
    )
    table.append((*row, f"{peak:.2f}", f"{seconds:.0f}"))
    print(*table[-1], sep=" | ", flush=True)
    shutil.rmtree(folder / "checkpoints")
    by_reasonir, by_its_library = OPENED[head](folder / "model")
    assert by_reasonir.std() > 0
    torch.testing.assert_close(by_its_library, by_reasonir, rtol=1e-3, atol=1e-3)
    shutil.rmtree(tmp_path)


QUERIES, DOCUMENTS = [f"why {text}" for text in SENTENCES[:2]], list(SENTENCES[2:6])


def vectors(folder):
    """Vectors of all texts by reasonir, by side."""
    encoder = reasonir.load(folder).encoder
    return [
        encoder.encode([Text(text) for text in texts], side)
        for texts, side in ((QUERIES, "query"), (DOCUMENTS, "document"))
    ]


def by_pylate(folder):
    """Late-interaction scores of every query with every document, by reasonir and by PyLate."""
    models = pytest.importorskip("pylate.models")
    queries, documents = (side.values_TD.split(side.lengths_N.tolist()) for side in vectors(folder))
    ours = [[(q @ d.T).amax(1).sum() for d in documents] for q in queries]
    gc.collect()
    model = models.ColBERT(str(folder), device="cpu")
    queries, documents = (
        [torch.as_tensor(each) for each in model.encode(texts, is_query=texts is QUERIES)]
        for texts in (QUERIES, DOCUMENTS)
    )
    theirs = [[(q @ d.T).amax(1).sum() for d in documents] for q in queries]
    return torch.tensor(ours), torch.tensor(theirs)


def by_sentence_transformers(folder):
    """Cosines of every query with every document, by reasonir and by sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    queries, documents = (side.values_TD for side in vectors(folder))
    ours = torch.cosine_similarity(queries[:, None], documents[None], dim=-1)
    gc.collect()
    model = SentenceTransformer(str(folder), device="cpu")
    queries, documents = (torch.as_tensor(model.encode(texts)) for texts in (QUERIES, DOCUMENTS))
    return ours, torch.cosine_similarity(queries[:, None], documents[None], dim=-1)


def by_transformers(folder):
    """Yes minus no for every query with every document, by reasonir and by the whole language model."""
    pairs = [Pair(Text(query), Text(document)) for query in QUERIES for document in DOCUMENTS]
    encoder = reasonir.load(folder).encoder
    with torch.no_grad():
        return encoder.score_pairs(pairs), whole_scores(folder, encoder, pairs)


OPENED = {"colbert": by_pylate, "biencoder": by_sentence_transformers, "yes_no": by_transformers}
