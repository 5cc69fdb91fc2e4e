"""A source divided into train, dev and test by shares: what is asked about in one part is never learnt in another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated

from reasonir.data.base import Rejected, content_key
from reasonir.errors import InputError
from reasonir.types import Example
from reasonir.utils.ranges import NonNegativeFloat, Rule

PARTS = ("train", "dev", "test")
Shares = Annotated[
    Sequence[NonNegativeFloat],
    Rule(
        lambda shares: len(shares) == len(PARTS) and shares[0] > 0 and abs(sum(shares) - 1) <= 1e-6,
        f"the shares of {', '.join(PARTS)} as three numbers that add up to 1, for instance [0.8,0.1,0.1]",
    ),
]


def sizes(count: int, shares: Sequence[float], what: str) -> tuple[int, int]:
    """How many of `count` dev and test get: their shares, one at least where the share isn't 0.

    Raises:
        InputError: nothing is left for training.
    """
    dev, test = (max(1, round(share * count)) if share else 0 for share in shares[1:])
    if dev + test >= count:
        raise InputError(
            f"data.splits={list(shares)}: {count} {what} leave nothing to train on beside {dev} for dev and {test} "
            "for test: give more, or set a share to 0"
        )
    return dev, test


def asked_about(examples: Iterable[Example]) -> frozenset[int]:
    """The keys of the examples' queries and relevant documents: what no training may see."""
    texts = (text for each in examples for text in (each.query, *(positive.text for positive in each.positives)))
    return frozenset(content_key(text) for text in texts)


def drop_held_out(example: Example, held: frozenset[int]) -> Iterator[Example | Rejected]:
    """The example without negatives that are `held`; nothing of it where its query or a relevant document is."""
    keys = asked_about([example])
    if keys & held:
        yield Rejected("held_out", example.query_id, example.query)
        return
    dropped = [document for document in example.negatives if content_key(document.text) in held]
    for document in dropped:
        yield Rejected("held_out_negative", example.query_id, document.text)
    yield replace(example, documents=tuple(each for each in example.documents if each not in dropped))
