"""Token ids of texts, cut to a length, with how much was cut; what layouts with one length have in common."""

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
"""Of the tokens of a pair, what a long query may have beside a long document."""


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


def ready(tokenizer: Any, config: Any) -> Any:
    """The tokenizer with a padding token, which libraries need for batches and many decoders lack.

    Args:
        tokenizer: a checkpoint's; changed in place.
        config: of its model, which must name the same token: a decoder's classifier finds the last one by it.

    Raises:
        InputError: there is no token that could pad.
    """
    if tokenizer.pad_token_id is None:
        pad = tokenizer.eos_token or tokenizer.unk_token
        if pad is None:
            raise InputError(
                f"{tokenizer.name_or_path} has neither a padding, an end-of-text nor an unknown token: set pad_token "
                "in its tokenizer_config.json"
            )
        tokenizer.pad_token = pad
    if config.pad_token_id is None or config.model_type not in OFFSET_FAMILIES:  # whose positions depend on it
        config.pad_token_id = tokenizer.pad_token_id
    return tokenizer


def forget_calls(tokenizer: Any) -> Any:
    """The tokenizer without the truncation and padding of its last call, which saving it would keep."""
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def split_room(query: int, document: int, room: int, query_share: float) -> tuple[int, int]:
    """How many tokens of a query and of a document fit into `room` together.

    What one side doesn't need the other may have; where both are too long, the query gets its share, and each side a
    token at least. With a share of one half the longer side is cut first, as the tokenizers library's "longest_first"
    does.

    >>> split_room(600, 300, 500, 0.5), split_room(600, 100, 500, 0.5), split_room(20, 900, 500, 0.5)
    ((250, 250), (400, 100), (20, 480))
    """
    own = int(query_share * room) if query <= document else room - int((1 - query_share) * room)
    query = min(query, max(room - document, min(max(own, 1), room - 1)))
    return query, min(document, room - query)


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
