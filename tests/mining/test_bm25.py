"""Tests of mining by BM25."""

from dataclasses import replace

import pytest

from reasonir.index import bm25
from reasonir.index.bm25 import Bm25
from reasonir.mining.bm25 import Bm25Miner


@pytest.mark.parametrize("changes", [{"k1": 1.2}, {"stemmer": None}, {"weigh_query": True}])
def test_the_identity_has_the_options_and_the_rule_of_words(monkeypatch, changes):
    identity = Bm25Miner(Bm25()).identity()
    assert identity == Bm25Miner(Bm25()).identity()
    assert identity != Bm25Miner(replace(Bm25(), **changes)).identity()
    monkeypatch.setattr(bm25, "_WORDS", "other words")
    assert identity != Bm25Miner(Bm25()).identity()
