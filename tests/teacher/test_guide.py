"""A guide masks, once for the whole set, what it would mask in every batch."""

from functools import partial

import numpy as np
import pytest

from reasonir.data.base import copy_key
from reasonir.data.batches.collate import groups_of
from reasonir.data.prepared import MASKED, Prepared, example_of, prepare, read, read_manifest, validate
from reasonir.data.splits.holdout import held_out_task
from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.mining.negatives import HardNegatives
from reasonir.mining.random import Shuffled
from reasonir.model.backbone import Model
from reasonir.teacher import guide as stage
from reasonir.teacher.guide import Guide
from reasonir.types import Document, Text
from tests.data.test_prepared import Given
from tests.helpers import HEADS, RETRIEVERS, batch_of, examples, load, plain_loss

GIVEN = [*examples(9, negatives=2)]
GIVEN[0] = GIVEN[0].__class__("two", "why two", (*GIVEN[0].documents, Document("other", "a second positive")))


def guide(folder, head="biencoder", **options):
    return Guide(Model(path=str(folder), head=partial(HEADS[head].load)), Hardware("cpu", accelerator="cpu"), **options)


def allowed(positive, *, absolute_margin=0.0, relative_margin=None):
    """The highest score of a negative."""
    limits = [] if absolute_margin is None else [positive - absolute_margin]
    return min([*limits, *([] if relative_margin is None else [positive - (1 - relative_margin) * abs(positive)])])


@pytest.mark.parametrize(
    ("head", "margins"),
    [
        *((head, {}) for head in RETRIEVERS),
        ("biencoder", {"absolute_margin": 0.05}),
        ("biencoder", {"absolute_margin": None, "relative_margin": 0.9}),
        ("gaussian", {"absolute_margin": 0.1, "relative_margin": 0.8}),
    ],
)
def test_a_row_lists_the_documents_above_its_best_positive(bert, tmp_path, monkeypatch, head, margins):
    monkeypatch.setattr(stage, "_QUERIES", 4)
    monkeypatch.setattr(stage, "_DOCUMENTS", 7)
    own = prepare(Given(GIVEN), tmp_path)
    folder = guide(bert, head, **margins).add_scores(own, tmp_path)
    assert folder.name.startswith("given-guide-")
    validate(folder)
    encoder = load(bert, head, seed=0).eval()
    texts = {copy_key(document.text): document.text for each in GIVEN for document in each.documents}
    documents = encoder.encode([Text(text) for text in texts.values()], "document")
    total = 0
    for before, row in zip(GIVEN, read(folder), strict=True):
        (scores_N,) = encoder.head.score(encoder.encode([Text(before.query)], "query"), documents).tolist()
        by_key = dict(zip(texts, scores_N, strict=True))
        limit = allowed(max(by_key[key] for key in row["pos_keys"]), **margins)
        expected = {key for key, score in by_key.items() if score > limit and key not in row["pos_keys"]}
        assert set(row[MASKED]) == expected
        assert row["excluded_keys"] == []
        total += len(expected)
    assert 0 < total < len(GIVEN) * len(texts)
    assert read_manifest(folder)["guide"]["false_negatives"] == total


def test_masked_documents_are_negatives_neither_in_the_batch_nor_drawn(bert, tmp_path):
    plain = prepare(Given(GIVEN), tmp_path)
    folder = guide(bert, absolute_margin=0.02).add_scores(plain, tmp_path)
    guided = [example_of(row) for row in read(folder)]
    for example, group in zip(guided, groups_of(guided), strict=True):
        assert set(example.masked) <= group.known
        own = {copy_key(document.text) for document in example.negatives} - set(example.masked)
        assert {key for key, document in group.documents if document.label <= 0} == own
    assert any(set(read(folder)[n][MASKED]) & set(read(folder)[n]["neg_keys"]) for n in range(len(guided)))
    encoder = load(bert, "biencoder")
    assert plain_loss(encoder, batch_of(encoder, guided), 0.5) < plain_loss(encoder, batch_of(encoder, GIVEN), 0.5)


def test_masked_documents_are_ranked_in_evaluation_and_not_mined(bert, tmp_path):
    source = Given(GIVEN)
    folder = guide(bert, absolute_margin=0.02).add_scores(prepare(source, tmp_path), tmp_path)
    assert held_out_task(read(folder), np.arange(3), name="dev", documents=None, seed=0).excluded == {}
    miner = HardNegatives(Shuffled(), range_min=0, range_max=99, num_negatives=99, replace_own=True)
    mined = miner.add_negatives(folder, Prepared(str(folder)), tmp_path)
    for row, before in zip(read(mined), read(folder), strict=True):
        assert row[MASKED] == before[MASKED]
        assert not set(row["neg_keys"]) & set(row[MASKED])


def test_a_set_is_guided_once_and_again_by_another_margin(bert, tmp_path, monkeypatch):
    own = prepare(Given(GIVEN), tmp_path)
    first = guide(bert, absolute_margin=0.02).add_scores(own, tmp_path)
    monkeypatch.setattr(Model, "load", None)
    assert guide(bert, absolute_margin=0.02).add_scores(own, tmp_path) == first
    monkeypatch.undo()
    stricter = guide(bert, absolute_margin=0.0).add_scores(first, tmp_path)
    for more, row in zip(read(first), read(stricter), strict=True):
        assert row[MASKED] == more[MASKED]  # those of both


def test_a_guide_that_knows_little_is_said(bert, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(stage, "_MANY", 0)
    guide(bert).add_scores(prepare(Given(GIVEN), tmp_path), tmp_path)
    assert "choose a better guide" in caplog.text


def test_a_guide_is_a_retriever_with_a_margin(bert):
    with pytest.raises(InputError, match="has a head that reads pairs: choose a retriever"):
        guide(bert, "cross_encoder")
    with pytest.raises(InputError, match="nothing is left out: give one of them"):
        guide(bert, absolute_margin=None)
