from collections import Counter

import pytest

from reasonir.data.splits.stratified import divide, normalise

SHARES = (0.7, 0.15, 0.15)
BINS = (1.67, 2.0, 2.33)


@pytest.mark.parametrize(
    "spelling",
    [
        "3 way toggle switch",
        "3 WAY TOGGLE SWITCH",
        "  3 way\u00a0toggle \t switch ",
        "\uff13 \uff57\uff41\uff59 toggle switch",
        "3 way toggle \u017fwitch",
    ],
)
def test_spellings_of_one_query_are_one(spelling):
    assert normalise(spelling) == "3 way toggle switch"


def test_accents_and_punctuation_tell_queries_apart():
    assert len({normalise(query) for query in ("resume", "résumé", "re-sume", "STRASSE", "straße")}) == 4


def queries(count=400):
    """Query -> mean relevance: four strata of a quarter each."""
    return {f"query {number}": (1.2, 1.8, 2.2, 2.9)[number % 4] for number in range(count)}


def test_every_stratum_is_divided_by_the_shares():
    means = queries()
    part_of = divide(means, SHARES, BINS, seed=0)
    for mean in set(means.values()):
        counts = Counter(part for query, part in part_of.items() if means[query] == mean)
        for part, share in zip(("train", "dev", "test"), SHARES, strict=True):
            assert abs(counts[part] - 100 * share) <= 1


def test_an_upper_end_belongs_to_its_stratum():
    """2.0 is in the stratum of 1.8, as in pandas.cut: both split alike when the other strata are empty."""
    with_end = divide(
        {**dict.fromkeys("abcdefghij", 1.8), **dict.fromkeys("klmnopqrst", 2.0)}, (0.5, 0.5, 0), (2.0,), seed=0
    )
    as_one = divide(dict.fromkeys("abcdefghijklmnopqrst", 1.8), (0.5, 0.5, 0), (2.0,), seed=0)
    assert with_end == as_one


def test_the_split_depends_on_the_seed_not_on_the_order():
    means = queries()
    backwards = dict(reversed(means.items()))
    first = divide(means, SHARES, BINS, seed=0)
    assert divide(backwards, SHARES, BINS, seed=0) == first
    assert divide(means, SHARES, BINS, seed=1) != first
    assert set(divide(means, (1.0, 0, 0), BINS, seed=0).values()) == {"train"}
