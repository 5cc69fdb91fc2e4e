"""Lengths by hand: percentiles, truncation, and limits that fit data and model."""

import re

import numpy as np
import pytest

from reasonir.data.batches.lengths import Column, LengthOptions, caps, fitting
from reasonir.errors import InputError

QUERIES = Column.of("queries", "query", [9, 3, 5, 1])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, 1), (0.25, 1), (0.26, 3), (0.5, 3), (0.75, 5), (0.76, 9), (0.95, 9), (1.0, 9)]
)
def test_the_percentile_is_the_nearest_rank(share, expected):
    assert QUERIES.percentile(share) == expected
    assert QUERIES.percentile(share) == np.percentile([9, 3, 5, 1], 100 * share, method="inverted_cdf")


def test_a_cut_counts_texts_and_tokens():
    cut = QUERIES.cut(4)
    assert (cut.texts, cut.tokens) == (0.5, (1 + 5) / 18)
    assert QUERIES.cut(9).texts == QUERIES.cut(9).tokens == 0


def test_a_histogram_counts_every_text_once():
    assert Column.of("q", "query", [1, 8, 9, 12, 13, 16, 17, 24, 33]).histogram() == {
        8: 2,
        12: 2,
        16: 2,
        24: 2,
        32: 0,
        48: 1,
    }


def test_limits_are_tried_up_to_the_models_positions():
    long = Column.of("d", "document", [20, 700])
    assert caps([QUERIES], 512) == [32]
    assert caps([QUERIES, long], 512) == [32, 64, 128, 256, 512]
    assert caps([QUERIES, long], 514) == [32, 64, 128, 256, 512, 514]
    assert caps([QUERIES, long], 10**9) == [32, 64, 128, 256, 512, 1024]


@pytest.mark.parametrize(
    ("queries", "positives", "negatives", "positions", "expected"),
    [
        (50, 300, 200, 512, (50, 300)),
        (50, 200, 300, 512, (50, 300)),  # negatives count as much as positives
        (5, 9, 9, 512, (32, 128)),  # floors
        (5, 9, 9, 64, (32, 64)),  # a floor never lifts a length beyond the positions
        (900, 900, 9, 512, (512, 512)),
    ],
)
def test_lengths_fit_the_longest_column_and_the_model(queries, positives, negatives, positions, expected):
    columns = [
        Column.of("queries", "query", [queries] * 20),
        Column.of("positives", "document", [positives] * 20),
        Column.of("negatives", "document", [negatives] * 5),
    ]
    lengths = fitting(columns, 0.95, positions)
    assert (lengths["query"], lengths["document"]) == expected


def test_a_typical_step_is_distributed_as_the_sample():
    assert QUERIES.typical(4) == [1, 3, 5, 9]
    assert QUERIES.typical(2) == [3, 9]
    assert QUERIES.typical(8) == [1, 1, 3, 3, 5, 5, 9, 9]
    assert QUERIES.typical(0) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentile": 0.0}, "percentile=0.0: give a number above 0, at most 1"),
        ({"percentile": 95.0}, "percentile=95.0"),
        ({"sample": 0}, "sample=0: give 1 or more"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        LengthOptions(**options)
