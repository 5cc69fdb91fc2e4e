import pickle
from functools import partial

import numpy as np
import torch

from reasonir.data.base import content_key
from reasonir.data.batch import Tokens
from reasonir.data.batches.collate import ALL, Batches, Items, contrast, positives_of_repeated_queries
from reasonir.data.batches.loader import BatchPlan
from tests.data.splits.test_holdout import rows_of

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
    assert positives == [content_key("1"), content_key("2"), content_key("2")]
    known = [set(relation.known_K[relation.known_query_K == q].tolist()) for q in range(3)]
    of_a = {content_key(text) for text in ("a", "1", "2", "4")}  # the row "a " has 4
    assert known == [of_a, of_a, {content_key("b"), content_key("2")}]


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
    dropped = frozenset(map(content_key, ("7", "8")))
    seen = {
        key
        for epoch in range(9)
        for key in batches(rows, negatives=3, dropped=dropped)[plan(0, epoch=epoch)].relation.key_N.tolist()
    }
    assert seen == {content_key("1"), content_key("9")}


def test_batches_travel_to_workers_and_back(tmp_path):
    batch = batches(rows_of(PAIRS, tmp_path))[plan(0, 2, step=5)]
    copy = pickle.loads(pickle.dumps(batch))
    assert copy.step == 5
    assert torch.equal(copy.documents.ids_T, batch.documents.ids_T)
