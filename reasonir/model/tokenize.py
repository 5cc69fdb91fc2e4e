"""Tokenisation helpers: truncation that counts the tokens lost, and layouts with a single length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Self

from annotated_types import Gt, Lt

from reasonir.errors import InputError
from reasonir.model.checkpoint_config import OFFSET_FAMILIES, UNBOUNDED
from reasonir.types import Side

QUERY_SHARE = 0.5
QueryShare = Annotated[float, Gt(0), Lt(1)]
"""Share of a pair's tokens that a long query may use next to a long document."""


class OneLength:
    """Layout whose `max_length` applies to both sides, without padding."""

    __slots__ = ()
    max_length: int

    def limit(self, side: Side) -> int:
        """Return the maximum tokens of a text or pair."""
        return self.max_length

    def least(self, side: Side) -> int:
        """Return 0: nothing is padded."""
        return 0

    def whole(self) -> Self:
        """Return the layout without truncation."""
        return replace(self, max_length=UNBOUNDED)  # type: ignore[type-var]


def ensure_padding(tokenizer: Any, config: Any) -> Any:
    """Return the tokenizer with a padding token, which libraries need for batches and many decoders lack.

    Args:
        tokenizer: tokenizer of a checkpoint; changed in place.
        config: the model's config, set to the same token: a decoder's classifier finds the last token by it.

    Raises:
        InputError: no token can serve as padding.
    """
    if tokenizer.pad_token_id is None:
        pad = tokenizer.eos_token or tokenizer.unk_token
        if pad is None:
            raise InputError(
                f"{tokenizer.name_or_path} has neither a padding, an end-of-text nor an unknown token: set pad_token "
                "in its tokenizer_config.json"
            )
        tokenizer.pad_token = pad
    if config.pad_token_id is None or config.model_type not in OFFSET_FAMILIES:  # their positions depend on it
        config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def clear_truncation(tokenizer: Any) -> Any:
    """Return the tokenizer without the truncation and padding of its last call, which would be saved."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def split_room(query: int, document: int, room: int, query_share: float) -> tuple[int, int]:
    """Return how many tokens of a query and of a document fit into `room` together.

    One side may use what the other doesn't need; if both are too long, the query gets its share, and each side at least
    one token. With a share of one half the longer side is truncated first, like "longest_first" of the tokenizers
    library.

    >>> split_room(600, 300, 500, 0.5), split_room(600, 100, 500, 0.5), split_room(20, 900, 500, 0.5)
    ((250, 250), (400, 100), (20, 480))
    """
    own = int(query_share * room) if query <= document else room - int((1 - query_share) * room)
    query = min(query, max(room - document, min(max(own, 1), room - 1)))
    return query, min(document, room - query)


def cut_ids(tokenizer: Any, strings: Sequence[str], length: int) -> tuple[list[list[int]], list[int]]:
    """Return the token ids of each string, at most `length` of them, and the number of tokens each lost.

    A fast tokenizer keeps the overflow, so it is counted without tokenising a text twice.
    """
    encoded = tokenizer(list(strings), truncation=True, max_length=length, padding=False)
    special = tokenizer.num_special_tokens_to_add()
    if tokenizer.is_fast:
        lost = [sum(len(rest) - special for rest in encoding.overflowing) for encoding in encoded.encodings]
    else:
        whole = tokenizer(list(strings), truncation=False, padding=False, verbose=False)["input_ids"]
        lost = [max(0, len(ids) - length) for ids in whole]
    return encoded["input_ids"], lost
