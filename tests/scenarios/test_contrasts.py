"""Losses that would learn nothing from the data are refused, with the ways to give it contrast."""

import json

import pytest

from reasonir.loss.base import DOCUMENTS, LABELS, ORDER, SPANS
from reasonir.loss.bce import Bce
from reasonir.loss.cached_contrastive import CachedContrastive
from reasonir.loss.kl import Kl
from reasonir.loss.lambda_ import Lambda
from reasonir.loss.listwise import Listwise
from reasonir.loss.margin_mse import MarginMse
from reasonir.loss.mse import Mse
from reasonir.loss.provence import ProvenceLoss
from reasonir.loss.ranknet import Ranknet
from reasonir.loss.sum import Sum
from reasonir.training.datamodule import RetrievalData
from reasonir.training.options import LoaderOptions
from reasonir.types import Document, Example
from tests.data.test_prepared import Given
from tests.data.test_triplets import jsonl
from tests.running import run


@pytest.mark.parametrize(
    ("loss", "needs"),
    [
        (Bce(), {LABELS}),
        (Mse(), {LABELS}),
        (Bce(target="bge"), set()),
        (Listwise(), {ORDER}),
        (Ranknet(), {ORDER}),
        (Lambda(), {ORDER}),
        (Kl(), {ORDER}),
        (Kl(target="bge"), {DOCUMENTS}),
        (MarginMse(target="bge"), {ORDER}),
        (CachedContrastive(1.0), set()),
        (ProvenceLoss(Bce()), {LABELS, SPANS}),
        (Sum({"a": Bce(), "b": Kl(target="bge")}), {LABELS, DOCUMENTS}),
    ],
)
def test_losses_say_what_they_need(loss, needs):
    assert loss.needs == needs


def held(tmp_path, *labelled, spans=(), **options):
    """Contrasts in batches of queries with documents of these labels."""
    examples = [
        Example(
            f"q{number}",
            f"query {number}",
            tuple(
                Document(
                    f"d{number}.{place}",
                    f"text {number}.{place}",
                    label=label,
                    spans=spans,
                    span_labels=(1.0,) * len(spans),
                )
                for place, label in enumerate(labels)
            ),
        )
        for number, labels in enumerate(labelled)
    ]
    source = Given(examples, mark=repr((labelled, spans)))
    data = RetrievalData(source, LoaderOptions(dev_size=0, **options), home=tmp_path, seed=0, pairs=True)
    data.setup()
    return data.contrasts


@pytest.mark.parametrize(
    ("labelled", "options", "expected"),
    [
        ([[1], [1], [1]], {}, set()),
        ([[1, 1], [1], [1]], {}, set()),
        ([[1, 1], [1], [1]], {"positives": "all"}, {DOCUMENTS}),
        ([[1, 0.5], [1], [1]], {}, {LABELS}),
        ([[1, 0.5], [1], [1]], {"positives": "all"}, {LABELS, DOCUMENTS, ORDER}),
        ([[1, 0], [1], [1]], {}, {LABELS, DOCUMENTS, ORDER}),
        ([[1, 0], [1], [1]], {"negatives": 0}, set()),
        ([[1], [0], [1]], {}, {LABELS}),
        ([[1], [0, 0], [1]], {"negatives": 2}, {LABELS, DOCUMENTS}),
    ],
)
def test_what_batches_hold_is_told_from_the_rows(tmp_path, labelled, options, expected):
    assert held(tmp_path, *labelled, **options) == expected


def test_judged_spans_are_seen(tmp_path):
    assert held(tmp_path, [1], [1], spans=((0, 4),)) == {SPANS}


def options(folder, rows, *more):
    path = jsonl(folder, *rows)
    given = ("model=tiny", "hardware=cpu", "data=triplets", f"data.path={path}", "trainer.max_steps=1", "logger=csv")
    return (*given, "evaluation.baselines=[]", "loader.batch_size=4", "loader.workers=0", *more)


POSITIVES = [{"query": f"why {n}", "positive": f"because {n}"} for n in range(16)]


@pytest.mark.parametrize("loss", ["bce", "mse", "listwise", "ranknet", "lambda", "kl"])
def test_a_reranker_is_not_trained_on_positives_alone(home, tmp_path, loss):
    done = run("train", *options(tmp_path, POSITIVES, "model/head=cross_encoder", f"loss={loss}"), home=home)
    assert done.status == 2
    for way in ("mining=bm25", "mining=random", "data=graded", "the loss learns from"):
        assert way in done.err
    assert not (done.folder / "model").exists()


def test_random_negatives_are_one_of_the_ways(home, tmp_path):
    given = options(tmp_path, POSITIVES, "model/head=cross_encoder", "mining=random", "mining.num_negatives=2")
    done = run("train", *given, home=home)
    assert done.status == 0, done.err
    manifest = json.loads((done.folder / "data.json").read_text())
    assert manifest["counts"]["negatives"] == 2 * 16


def test_pairs_of_queries_without_a_relevant_document_are_trained_on(home, tmp_path):
    """Rows of sentence1, sentence2 and label, no query twice: half of them say what isn't relevant."""
    rows = [{"sentence1": f"why {n}", "sentence2": f"because {n}", "label": n % 2} for n in range(24)]
    done = run("train", *options(tmp_path, rows, "model/head=cross_encoder"), home=home)
    assert done.status == 0, done.err
    manifest = json.loads((done.folder / "data.json").read_text())
    assert (manifest["counts"]["positives"], manifest["counts"]["negatives"]) == (12, 12)
    assert "Held out of 24 queries: 1 for development, 1 for testing" in done.err
    retriever = run("train", *options(tmp_path, rows), home=home)
    assert retriever.status == 0, retriever.err
    assert "Left out: 12 queries without a relevant document" in retriever.err


def test_a_pruner_needs_judged_spans(home, tmp_path):
    rows = [{**row, "negative": "nothing of it"} for row in POSITIVES]
    done = run("train", *options(tmp_path, rows, "model/head=provence"), home=home)
    assert done.status == 2
    assert "the loss trains pruning with labelled spans" in done.err
