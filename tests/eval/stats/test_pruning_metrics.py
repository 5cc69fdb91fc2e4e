"""Pruning metrics by hand."""

import numpy as np
import pytest

from reasonir.eval.stats.pruning_metrics import Sentences, bm25_scores
from reasonir.types import Document, Example

ROWS = [
    Example(
        "a",
        "why does it rain",
        (
            Document("1", "Rain falls. No", 1.0, spans=((0, 11), (12, 14)), span_labels=(1.0, 0.0)),
            Document("2", "Bees", label=0.0, spans=((0, 4),), span_labels=(0.0,)),
            Document("3", "unjudged", label=0.0),
        ),
    ),
    Example("b", "who dances often", (Document("4", "Bees do dance. So", 1.0, "", 1.0),)),
]


def rows():
    from dataclasses import replace

    last = Document("4", "Bees dance often.So", spans=((0, 17), (17, 19)), span_labels=(1.0, 0.0))
    return [ROWS[0], replace(ROWS[1], documents=(last,))]


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        # tp, fp, fn, tn: 1, 1, 1, 2
        ([1, 0, 1, 0, 0], {"precision": 1 / 2, "recall": 1 / 2, "f2": 0.5, "span_accuracy": 3 / 5}),
        # 2, 1, 0, 2
        ([1, 0, 1, 1, 0], {"precision": 2 / 3, "recall": 1.0, "f2": 10 / 11, "span_accuracy": 4 / 5}),
        ([0, 0, 0, 0, 0], {"precision": 0.0, "recall": 0.0, "f2": 0.0, "span_accuracy": 3 / 5, "compression": 1.0}),
        ([1, 1, 1, 1, 1], {"precision": 2 / 5, "recall": 1.0, "f2": 10 / 13, "span_accuracy": 2 / 5, "compression": 0}),
        # texts lose 2 of 13, all of 4, and 2 of 19 characters
        ([1, 0, 0, 1, 0], {"compression": (2 / 13 + 1 + 2 / 19) / 3}),
    ],
)
def test_counts_are_over_sentences_and_compression_over_texts(kept, expected):
    sentences = Sentences.of(rows())
    assert sentences.relevant_S.tolist() == [True, False, False, True, False]
    found = sentences.figures(np.array(kept, dtype=bool))
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_the_best_sentences_come_as_close_to_a_compression_as_possible():
    sentences = Sentences.of(rows())
    scores = np.array([0.9, 0.1, 0.5, 0.8, 0.1])
    for count in range(6):
        kept = np.zeros(5, dtype=bool)
        kept[[0, 3, 2, 1, 4][:count]] = True
        assert sentences.best(scores, sentences.compression(kept) + 0.001).tolist() == kept.tolist()


def test_a_threshold_is_tuned_on_the_other_half():
    sentences = Sentences.of(rows())
    assert set(sentences.half_S.tolist()) == {0, 1}
    keep = np.array([0.6, 0.2, 0.1, 0.4, 0.3])
    kept, chosen = sentences.by_chosen_threshold(keep)
    for half in (0, 1):
        own = sentences.half_S == half
        assert kept[own].tolist() == (keep[own] > chosen[half]).tolist()
    first = sentences.half_S[0]
    assert chosen[first] == 0.3  # best for the second query: 0.4 is kept and 0.3 isn't
    assert chosen[1 - first] == 0.2


def test_bm25_scores_sentences_in_either_script():
    assert bm25_scores(rows()).argmax() in (0, 3)
    assert bm25_scores(rows())[[1, 2, 4]].tolist() == [0, 0, 0]
    japanese = [
        Example(
            "a",
            "梅雨とは",
            (Document("1", "台風だ。梅雨である。", spans=((0, 4), (4, 10)), span_labels=(0.0, 1.0)),),
        )
    ]
    assert bm25_scores(japanese).argmax() == 1
