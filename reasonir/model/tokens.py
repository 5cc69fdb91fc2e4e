"""Token ids of texts, cut to a length, with how much was cut; and what layouts with one length have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from reasonir.model.positions import UNBOUNDED
from reasonir.types import Side


class OneLength:
    """A layout whose `max_length` holds for either side; nothing is filled up."""

    __slots__ = ()
    max_length: int

    def limit(self, side: Side) -> int:
        """The most tokens a text, or a pair, has."""
        return self.max_length

    def least(self, side: Side) -> int:
        """Nothing is filled up."""
        return 0

    def whole(self) -> Self:
        """The same layout, with nothing cut."""
        return replace(self, max_length=UNBOUNDED)  # type: ignore[type-var]


def cut_ids(tokenizer: Any, strings: Sequence[str], length: int) -> tuple[list[list[int]], list[int]]:
    """The token ids of each string, at most `length` of them, and how many tokens each lost.

    A fast tokenizer keeps what it cuts off, so that is counted without reading a text twice.
    """
    encoded = tokenizer(list(strings), truncation=True, max_length=length, padding=False)
    special = tokenizer.num_special_tokens_to_add()
    if tokenizer.is_fast:
        lost = [sum(len(rest) - special for rest in each.overflowing) for each in encoded.encodings]
    else:
        whole = tokenizer(list(strings), truncation=False, padding=False, verbose=False)["input_ids"]
        lost = [max(0, len(ids) - length) for ids in whole]
    return encoded["input_ids"], lost
