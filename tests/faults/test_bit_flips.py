"""One flipped bit in every kind of file that a command goes on from: refused, made again, or without any effect.

Bits are drawn evenly over the kinds, and over the files and the bytes of a kind. What a reader returns is compared with
what it returned before, so that a flip that is read silently is found wherever it is.
"""

import json
import os
import random
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch

from reasonir.data.files.corpora import read_documents
from reasonir.data.files.corpus_store import store
from reasonir.data.prepared import read, read_manifest
from reasonir.engine.step import Budget
from reasonir.errors import InputError
from reasonir.eval.results import FILES, read_results, read_values
from reasonir.eval.results import RESULTS as RESULTS_FILE
from reasonir.inference.index_cache import open_corpus
from reasonir.inference.retriever import Retriever
from reasonir.model import manifest
from reasonir.model.caching_encoder import CachingEncoder
from reasonir.model.embedding_cache import Disk
from reasonir.planning.budget_cache import BudgetCache
from reasonir.planning.plan import read_plan
from reasonir.runs.folder import saved_config
from reasonir.runs.outcome import JobRecord
from reasonir.runs.overrides import saved_overrides
from reasonir.runs.provenance import DATA, data_of
from reasonir.sweep.jobs import SweepRecord
from reasonir.training.checkpoints import AtomicCheckpointIO, fault_in, newest, read_best, step_of
from reasonir.types import Text
from reasonir.utils.state import fault_of
from tests.helpers import SENTENCES, load, tiny_bert
from tests.running import run

pytestmark = pytest.mark.slow
FLIPS = int(os.environ.get("REASONIR_FLIPS", "400"))
TRAIN = (
    "experiment=demo_tiny",
    "loader.batch_size=16",
    "data.variants=1",
    "evaluation.baselines=[random]",
    "model/head=biencoder",
    "trainer.max_steps=4",
    "checkpoint.every_n_steps=2",
    "dev_eval.every_n_steps=2",
    "logger=csv",
)


def plain(value):
    """Anything that a reader returns, so that equal values are equal content."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.flatten().contiguous().view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, in a home of its own."""
    home = tmp_path_factory.mktemp("trained")
    done = run("train", *TRAIN, home=home)
    assert done.status == 0, done.err
    return done.folder


@pytest.fixture(scope="module")
def kinds(trained, tmp_path_factory):
    """By kind: the files, and what reads them."""
    place = tmp_path_factory.mktemp("kinds")
    home = trained.parent.parent
    export, checkpoints = trained / "model", trained / "checkpoints"
    (prepared,) = (path for path in (home / "data").glob("demo-*"))
    job, sweep = place / "job", place / "sweep"
    job.mkdir()
    sweep.mkdir()
    JobRecord(["seed=1"], value=0.25, seconds=3.0, pid=17, host="here").write(job)
    SweepRecord(["-m", "seed=1,2"], ["data=demo"], "0" * 32).write(sweep)
    budgets = BudgetCache(place / "budgets.json", "model")
    budgets.keep(Budget(128, 64))

    encoder = load(tiny_bert(place / "tiny"), "biencoder").eval()
    corpus = place / "corpus.jsonl"
    corpus.write_text("".join(f'{{"id": "{number}", "text": "{text}"}}\n' for number, text in enumerate(SENTENCES)))
    index = open_corpus(Retriever(encoder), str(corpus), place)
    documents = read_documents(str(corpus))

    def indexed():
        retriever = Retriever(encoder)
        retriever.load_index(index)
        return [retriever.documents, [[block.values_TD, block.lengths_N] for block in retriever._blocks]]

    blocks = Disk(place / "embeddings")
    CachingEncoder(encoder, blocks).encode([Text(text) for text in SENTENCES], "document")
    (block,) = blocks.folder.iterdir()

    def cached():
        found = blocks.load(block.stem)
        if found is None:
            raise InputError("encoded again")
        return [found.representation.values_TD, found.representation.lengths_N, found.tokens_N, found.lost_N]

    def corpora():
        rows = lambda: [(doc_id, text, "here") for doc_id, text in documents.items()]  # noqa: E731
        found = store(rows, [corpus], place / "corpora", what="x")
        return [found.digest, list(found.corpus.ids), list(found.corpus.texts)]

    corpora()
    evaluation = [trained / name for name in (RESULTS_FILE, "per_query.parquet")]
    last = newest(checkpoints)[0]
    best = max(checkpoints.glob("best_*"))
    return {
        "checkpoint": ([last], lambda: AtomicCheckpointIO().load_checkpoint(last)),
        "best weights": ([best], lambda: [read_best(checkpoints, step_of(best), ""), fault_in(last)]),
        "exported weights": (list(export.rglob("*.safetensors")), lambda: whole(export)),
        "other files of the export": (
            [file for file in export.rglob("*") if file.is_file() and file.suffix != ".safetensors"],
            lambda: whole(export),
        ),
        "prepared rows": (list(prepared.glob("data-*.arrow")), lambda: read(prepared).to_list()),
        "other files of the prepared set": (
            [prepared / name for name in ("manifest.json", "state.json", "dataset_info.json")],
            lambda: [read(prepared).to_list(), read_manifest(prepared)],
        ),
        "search index": (list(index.iterdir()), indexed),
        "embedding cache": ([block], cached),
        "corpus": (list((place / "corpora").glob("*/*")), corpora),
        "plan": ([trained / "plan.json"], lambda: read_plan(trained / "plan.json")),
        "data": ([trained / DATA], lambda: data_of(trained)),
        "configuration": ([trained / "config.yaml"], lambda: saved_config(trained)),
        "overrides": (
            [trained / ".hydra" / "overrides.yaml"],
            lambda: saved_overrides(trained / ".hydra/overrides.yaml"),
        ),
        "results": (evaluation, lambda: [read_results(trained), plain(read_values(trained))]),
        "rankings": (list((trained / "runs").iterdir()), lambda: rankings(trained)),
        "job": ([job / "outcome.json"], lambda: JobRecord.read(job)),
        "sweep": ([sweep / "sweep.json"], lambda: SweepRecord.read(sweep)),
        "budgets": ([budgets.file], lambda: budgets.limit(Budget(1000, 1000))),
    }


def whole(export: Path):
    """What loading an export reads, its files verified."""
    return [manifest.read(export), *(file.read_bytes() for file in sorted(export.rglob("*")) if used(file))]


def used(file):
    return file.is_file() and file.name != manifest.MANIFEST


def same(found, expected):
    """Equality, but for further entries of a document: a checksum whose name was changed, which nothing reads."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(key in found and same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


def rankings(folder):
    if fault := fault_of(folder, read_results(folder)[FILES]):
        raise InputError(fault)
    return [file.read_bytes() for file in sorted((folder / "runs").iterdir())]


def test_no_flipped_bit_is_silent(kinds, caplog):
    draw, held, silent = random.Random(18), Counter(), []
    expectations = {kind: plain(reader()) for kind, (_, reader) in kinds.items()}
    for number in range(FLIPS):
        kind = list(kinds)[number % len(kinds)]
        (files, reader), expected = kinds[kind], expectations[kind]
        file = draw.choice(files)
        content = file.read_bytes()
        changed, bit = bytearray(content), draw.randrange(8 * len(content))
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        caplog.clear()
        try:
            found = plain(reader())
        except InputError as error:
            assert str(error)
            held[f"{kind}: refused"] += 1
        else:
            said = bool(caplog.text)
            held[f"{kind}: {'made again with a word' if said else 'without effect'}"] += 1
            if not same(found, expected) and not said:
                silent.append((kind, file.name, bit))
        file.write_bytes(content)
    for what, count in sorted(held.items()):
        print(f"{count:4} {what}")
    print(f"flipped bits: {FLIPS} tried, {FLIPS - len(silent)} held, {len(silent)} silent")
    assert silent == []


def test_commands_go_on_beside_a_damaged_file_or_name_it(trained, tmp_path):
    """The same through whole commands: resume from the checkpoint before, refuse a model, make a set again."""
    home = tmp_path / "home"
    shutil.copytree(trained.parent.parent, home)
    folder = home / "outputs" / trained.name
    results = (folder / "results.json").read_bytes()
    flip = partial(flipped, random.Random(7))

    flip(newest(folder / "checkpoints")[0], share=0.5)
    again = run("train", f"resume={folder}", home=home)
    assert again.status == 0, again.err
    assert f"{newest(folder / 'checkpoints')[0].name} is skipped" in again.err
    assert "Resuming after step 2" in again.err
    assert read_results(folder)["results"]["demo"]["trained"] == json.loads(results)["results"]["demo"]["trained"]

    flip(folder / "model" / "model.safetensors", share=0.5)
    refused = run("evaluate", f"run={folder}", "eval=demo", "logger=csv", home=home)
    assert (refused.status, "model.safetensors has SHA-256" in refused.err) == (2, True), refused.err

    flip(next((home / "data").glob("demo-*/data-*.arrow")), share=0.5)
    mended = run("train", f"resume={folder}", home=home)
    assert mended.status == 0, mended.err
    assert "The prepared set is damaged and made again" in mended.err

    for file in (folder / "checkpoints").glob("best_*"):
        file.unlink()
    lost = run("train", f"resume={folder}", home=home)
    assert lost.status == 2
    assert "is missing: these are the best weights so far" in lost.err
    assert "Traceback" not in again.err + refused.err + mended.err + lost.err


def flipped(draw: random.Random, file: Path, *, share: float):
    """Flip a bit near a share of a file."""
    content = bytearray(file.read_bytes())
    content[int(share * len(content)) + draw.randrange(32)] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
