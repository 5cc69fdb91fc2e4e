"""Splits of a source into train, dev and test by shares, without leaks between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

from reasonir.data.base import Rejected, copy_key
from reasonir.errors import InputError
from reasonir.types import Example
from reasonir.utils.ranges import NonNegativeFloat, Rule

PARTS = ("train", "dev", "test")
Shares = Annotated[
    Sequence[NonNegativeFloat],
    Rule(
        lambda shares: len(shares) == len(PARTS) and shares[0] > 0 and abs(sum(shares) - 1) <= 1e-6,
        f"the shares of {', '.join(PARTS)} as three numbers that add up to 1, such as [0.8,0.1,0.1]",
    ),
]


def sizes(count: int, shares: Sequence[float], what: str) -> tuple[int, int]:
    """Return the sizes of dev and test out of `count`, at least one for a share above 0.

    Raises:
        InputError: nothing is left for training.
    """
    dev, test = (max(1, round(share * count)) if share else 0 for share in shares[1:])
    if dev + test >= count:
        raise InputError(
            f"data.splits={list(shares)}: {count} {what} leave nothing to train on after {dev} for dev and {test} "
            "for test: give more, or set a share to 0"
        )
    return dev, test


def drop_held_out(example: Example, held: frozenset[int]) -> Iterator[Example | Rejected]:
    """Yield the example without held-out negatives, or nothing of it if its query or a positive is held out.

    Args:
        example: a training example.
        held: keys of held-out queries and documents.
    """
    texts = (example.query, *(positive.text for positive in example.positives))
    if held.intersection(map(copy_key, texts)):
        yield Rejected("held_out", example.query_id, example.query)
        return
    dropped = [document for document in example.negatives if copy_key(document.text) in held]
    for document in dropped:
        yield Rejected("held_out_negative", example.query_id, document.text)
    yield replace(example, documents=tuple(document for document in example.documents if document not in dropped))
