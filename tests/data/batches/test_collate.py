import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from reasonir.data.base import copy_key
from reasonir.data.batch import Tokens
from reasonir.data.batches.collate import ALL, Batches, Items, contrast, groups_of, positives_of_repeated_queries
from reasonir.data.batches.loader import BatchPlan
from reasonir.data.prepared import prepare, read
from reasonir.engine.step import _pair_tensors
from reasonir.types import Document, Example, Text
from tests.data.splits.test_holdout import rows_of
from tests.data.test_prepared import Given

PAIRS = [("a", ["1", "2"], ["7", "8", "9"]), ("b", ["2"], ["1"]), ("c", ["3"], []), ("a ", ["4"], [])]


def letters(texts, side):
    """Tokenise into letters."""
    return Tokens.pack([([ord(c) for c in t.text], [True] * len(t.text), [True] * len(t.text)) for t in texts])


def batches(rows, *, positives="each", negatives=1, dropped=frozenset()):
    items = Items.of(rows, np.arange(len(rows)), positives=positives)
    assemble = partial(contrast, tokenize=letters)
    return Batches(rows, items, assemble, negatives, dropped, 0, positives_of_repeated_queries(rows))


def plan(*items, step=0, epoch=0):
    return BatchPlan(step, np.full(len(items), epoch), np.array(items))


def test_each_relevant_pair_is_an_item_or_each_query(tmp_path):
    rows = rows_of(PAIRS, tmp_path)
    each = Items.of(rows, np.array([0, 2, 3]), positives="each")
    assert list(zip(each.row_I.tolist(), each.positive_I.tolist(), strict=True)) == [(0, 0), (0, 1), (2, 0), (3, 0)]
    whole = Items.of(rows, np.array([0, 2]), positives="all")
    assert (whole.row_I.tolist(), whole.positive_I.tolist()) == ([0, 2], [ALL, ALL])


def test_documents_are_distinct_and_every_known_relation_is_listed(tmp_path):
    rows = rows_of(PAIRS, tmp_path)
    batch = batches(rows)[plan(0, 1, 2)]  # (a, 1), (a, 2), (b, 2): document 2 serves two queries
    relation = batch.relation
    keys = relation.key_N.tolist()
    assert len(keys) == len(set(keys)) == len(batch.documents)
    assert relation.label_P.tolist() == [1, 0, 1, 0, 1, 0]
    positives = [keys[d] for d, label in zip(relation.document_P, relation.label_P, strict=True) if label > 0]
    assert positives == [copy_key("1"), copy_key("2"), copy_key("2")]
    known = [set(relation.known_K[relation.known_query_K == q].tolist()) for q in range(3)]
    of_a = {copy_key(text) for text in ("a", "1", "2", "4")}  # the row "a " has 4
    assert known == [of_a, of_a, {copy_key("b"), copy_key("2")}]


def test_all_positives_of_a_query_form_one_item(tmp_path):
    batch = batches(rows_of(PAIRS, tmp_path), positives="all")[plan(0)]
    assert batch.relation.label_P.tolist() == [1, 1, 0]
    assert batch.relation.query_P.tolist() == [0, 0, 0]


def test_negatives_are_drawn_again_each_epoch_and_never_from_the_development_set(tmp_path):
    rows = rows_of(PAIRS, tmp_path)
    one = batches(rows)
    drawn = {frozenset(one[plan(0, epoch=epoch)].relation.key_N.tolist()) for epoch in range(20)}
    assert len(drawn) == 3
    assert torch.equal(one[plan(0, epoch=3)].relation.key_N, one[plan(0, epoch=3)].relation.key_N)
    dropped = frozenset(map(copy_key, ("7", "8")))
    seen = {
        key
        for epoch in range(9)
        for key in batches(rows, negatives=3, dropped=dropped)[plan(0, epoch=epoch)].relation.key_N.tolist()
    }
    assert seen == {copy_key("1"), copy_key("9")}


def test_batches_travel_to_workers_and_back(tmp_path):
    batch = batches(rows_of(PAIRS, tmp_path))[plan(0, 2, step=5)]
    copy = pickle.loads(pickle.dumps(batch))
    assert copy.step == 5
    assert torch.equal(copy.documents.ids_T, batch.documents.ids_T)


def negatives_of(batch):
    """Return for each query the positions of the documents that serve as its negatives."""
    negative_QN = _pair_tensors(batch.relation, len(batch), torch.device("cpu"))[3]
    return [row.nonzero().flatten().tolist() for row in negative_QN]


def batch_of(*examples, tokenize=letters):
    return contrast(0, groups_of(examples), tokenize=tokenize)


def uncased(texts, side):
    """Tokenise into lower-case letters, as an uncased model reads them."""
    return letters([Text(t.text.lower().replace("\u00e9", "e")[:12]) for t in texts], side)


@pytest.mark.parametrize("copy", ["The Way", "the  way\n", " thE wAY "])
def test_a_copy_in_other_case_or_spacing_is_the_document_itself(copy):
    batch = batch_of(Example("a", "q", (Document("1", "the way"),)), Example("b", "r", (Document("2", copy),)))
    assert len(batch.documents) == 1
    assert negatives_of(batch) == [[], []]


@pytest.mark.parametrize(
    ("copy", "tokenize", "expected"),
    [
        ("caf\u00e9 au lait", uncased, [[], []]),
        ("cafe au lait", uncased, [[], []]),
        ("cafe au lait, which is truncated", uncased, [[], []]),
        ("caf\u00e9 au lait", letters, [[1], [0]]),
        ("cafe au latte", uncased, [[1], [0]]),
    ],
)
def test_documents_that_the_model_reads_alike_are_no_negatives_of_each_others_query(copy, tokenize, expected):
    examples = (Example("a", "q", (Document("1", "cafe au lait."),)), Example("b", "r", (Document("2", copy),)))
    assert negatives_of(batch_of(*examples, tokenize=tokenize)) == expected


def test_items_that_differ_in_instruction_are_different_items(tmp_path):
    under = [Example(n, "q", (Document(n, text),), instruction=n) for n, text in (("a", "one"), ("b", "two"))]
    assert negatives_of(batch_of(*under)) == [[1], [0]]
    rows = read(prepare(Given([*under, Example("c", "q", (Document("c", "three"),), "a")]), tmp_path))
    assert positives_of_repeated_queries(rows) == {
        (copy_key("q"), "a"): [copy_key("one"), copy_key("three")],
        (copy_key("q"), "b"): [copy_key("two")],
    }


def test_a_document_under_another_instruction_keeps_it_and_is_still_relevant():
    first, second = Document("1", "same", "find"), Document("1", "same", "solve")
    seen = []

    def record(texts, side):
        seen.extend(texts)
        return letters(texts, side)

    batch = batch_of(Example("a", "q", (first,)), Example("b", "r", (second,)), tokenize=record)
    assert [text for text in seen if text.text == "same"] == [Text("same", "find"), Text("same", "solve")]
    assert negatives_of(batch) == [[], []]


def test_a_negative_that_another_row_of_the_query_calls_relevant_is_not_drawn(tmp_path):
    rows = rows_of([("a", ["1"], ["2", "7"]), ("a ", ["2"], [])], tmp_path)
    for turn in range(5):
        batch = batches(rows, negatives=2)[plan(0, epoch=turn)]
        assert batch.relation.key_N.tolist() == [copy_key("1"), copy_key("7")]


def test_an_excluded_document_is_no_negative_of_its_query_in_another_ones_batch(tmp_path):
    texts = ("one", "two", "six")
    examples = [Example(text, text[0], (Document(text, text),)) for text in texts]
    examples[0] = replace(examples[0], excluded=(copy_key("TWO"),))
    rows = read(prepare(Given(examples), tmp_path))
    assert negatives_of(batches(rows)[plan(0, 1, 2)]) == [[2], [0, 2], [0, 1]]
