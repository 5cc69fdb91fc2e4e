"""Tokenisation helpers: truncation that counts the tokens lost and leaves each text its share, and single lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Self

from annotated_types import Gt, Lt

from reasonir.errors import InputError
from reasonir.model.checkpoint_config import OFFSET_FAMILIES, UNBOUNDED, stated_options
from reasonir.model.control_tokens import reader_of
from reasonir.model.prompts import Prompts
from reasonir.types import Side, Text

TEXT_SHARE = 0.25
"""Least share of the tokens that a text keeps next to its prompt."""
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


def prepare(tokenizer: Any) -> Any:
    """Return a checkpoint's tokenizer as models here read texts: cut at their end, closed as the checkpoint states.

    transformers 5 ignores `add_eos_token` in tokenizer_config.json, without which a last-token model pools a word.

    Args:
        tokenizer: as AutoTokenizer gives it; changed in place, so that an export has the same.
    """
    tokenizer.truncation_side = "right"
    stated = stated_options(Path(tokenizer.name_or_path), "tokenizer_config.json")
    appends = stated.get("add_eos_token") is True and tokenizer.eos_token is not None
    if appends and tokenizer.is_fast and not ends_with_eos(tokenizer):
        _append_eos(tokenizer)
    return tokenizer


def ends_with_eos(tokenizer: Any) -> bool:
    """Return whether the tokenizer closes a text with a special token."""
    ids = tokenizer.encode("a", verbose=False)
    return bool(ids) and ids[-1] in tokenizer.all_special_ids


def _append_eos(tokenizer: Any) -> None:
    """Append the end-of-text token to the template of a fast tokenizer."""
    from tokenizers.processors import TemplateProcessing

    (encoding,) = tokenizer(["a"], verbose=False).encodings
    before = encoding.special_tokens_mask.index(0)
    names = dict(zip(encoding.tokens[:before], encoding.ids[:before], strict=True))
    single, end = [*names, "$A"], tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=[*single, end],
        pair=[*single, end, *(f"{part}:1" for part in [*names, "$B", end])],
        special_tokens=list({**names, end: tokenizer.eos_token_id}.items()),
    )


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


@dataclass(frozen=True, slots=True)
class CutText:
    """Tokens of a text with its prompt, truncated.

    Attributes:
        encoding: of the tokenizers library; before truncation if `kept` is given.
        lost: number of tokens that were cut off.
        kept: indices of the tokens that are left; None for all.
        prompt_lost: lost tokens of the prompt.
    """

    encoding: Any
    lost: int = 0
    kept: Sequence[int] | None = None
    prompt_lost: int = 0

    @property
    def ids(self) -> list[int]:
        """Token ids."""
        return self._kept(self.encoding.ids)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Characters [start, end) of each token."""
        return self._kept(self.encoding.offsets)

    def _kept(self, values: list[Any]) -> list[Any]:
        return values if self.kept is None else [values[index] for index in self.kept]


def cut_texts(
    tokenizer: Any,
    texts: Sequence[Text],
    side: Side,
    prompts: Prompts,
    length: int,
    *,
    lower_case: bool = False,
    markers: Sequence[int | None] = (),
) -> list[CutText]:
    """Return the tokens of texts with their prompts, special tokens included, at most `length` of each.

    Args:
        tokenizer: of transformers.
        texts: their control tokens are read as text (`reasonir.model.control_tokens`).
        side: whose prompt they get.
        prompts: completed with the checkpoint's.
        length: a longer text loses its end; next to a long instruction it keeps `TEXT_SHARE` (`kept_of_side`).
        lower_case: lower the case of prompts and texts.
        markers: control tokens besides the tokenizer's special ones.
    """

    def read(string: str) -> str:
        return string.lower() if lower_case else string

    if not tokenizer.is_fast:
        strings = [read(prompts.apply(text, side)) for text in texts]
        parts = [(read(prompts.of(side, text.instruction).lstrip()), read(prompts.tail(side))) for text in texts]
        return [_cut_slowly(tokenizer, *each, length) for each in zip(strings, parts, strict=True)]
    reader = reader_of(tokenizer, (prompts.query, prompts.document), markers)
    named = prompts.mapped(lambda prompt: reader.rewrite(read(prompt)))
    strings = [read(named.apply(text, side)) for text in texts]
    special = tokenizer.num_special_tokens_to_add()
    found = []
    for text, string, encoding in zip(texts, strings, reader.encode(strings, length=length), strict=True):
        cut = CutText(encoding, sum(len(rest) - special for rest in encoding.overflowing))
        prompt, room = len(string) - len(read(text.text).rstrip()), length - special
        if cut.lost and sum(0 < end <= prompt for _, end in encoding.offsets) > room - text_share(room):
            (whole,) = reader.encode([string])
            cut = _with_share(cut, whole, prompt, len(read(named.tail(side))), room)
        found.append(cut)
    return found


def _with_share(cut: CutText, whole: Any, prompt: int, tail: int, room: int) -> CutText:
    """Return the truncated text with its share of the room, from its untruncated encoding.

    Args:
        cut: truncated at its end.
        whole: the encoding.
        prompt: characters of the prompt.
        tail: characters of the prompt after its instruction.
        room: maximum tokens besides the special ones.
    """
    special_T, offsets_T = whole.special_tokens_mask, whole.offsets
    content = [index for index, special in enumerate(special_T) if not special]
    kept = kept_of_side([offsets_T[index] for index in content], prompt, tail, room)
    lost = {content[position] for position in set(range(len(content))).difference(kept)}
    prompt_lost = sum(offsets_T[index][1] <= prompt for index in lost)
    left = [index for index in range(len(special_T)) if index not in lost]
    return replace(cut, encoding=whole, kept=left, prompt_lost=prompt_lost)


def kept_of_side(offsets: Sequence[tuple[int, int]], prompt: int, tail: int, room: int) -> list[int]:
    """Return the positions of the tokens that are kept of a prompt and its text, at most `room` of them.

    The text loses its end. If that leaves it less than `TEXT_SHARE` of the room, the instruction loses its own end; the
    part of the prompt after the instruction stays.

    Args:
        offsets: characters [start, end) of each token.
        prompt: characters of the prompt.
        tail: characters of the prompt after its instruction.
        room: number of tokens.
    """
    own = sum(end <= prompt for _, end in offsets) if prompt else 0
    text = min(len(offsets) - own, max(room - own, text_share(room)))
    kept = min(own, room - text)
    after = min(kept, sum(start >= prompt - tail for start, _ in offsets[:own])) if tail and kept < own else 0
    return [*range(kept - after), *range(own - after, own + text)]


def text_share(room: int) -> int:
    """Return the least number of `room` tokens that a text keeps next to its prompt."""
    return ceil(TEXT_SHARE * room)


def check_prompt(option: str, length: int, special: int, prompt: int) -> None:
    """Refuse a length in which the prompt leaves a text less than its share.

    Args:
        option: the length's name.
        length: maximum tokens.
        special: special tokens and markers.
        prompt: tokens of the prompt, with the default instruction.

    Raises:
        InputError: naming the least length.
    """
    least = special + max(prompt + 1, ceil(prompt / (1 - TEXT_SHARE)))
    if length < least:
        raise InputError(
            f"model.head.{option}={length} leaves texts less than {TEXT_SHARE:.0%} of it, next to {special} special "
            f"tokens and {prompt} of the prompt: set it to {least} or more, or shorten model.prompts"
        )


def count_tokens(tokenizer: Any, prompt: str) -> int:
    """Return the number of a prompt's tokens."""
    return len(tokenizer.encode(prompt, add_special_tokens=False, verbose=False)) if prompt else 0


def _cut_slowly(tokenizer: Any, string: str, prompt: tuple[str, str], length: int) -> CutText:
    """Return the tokens of a string by a tokenizer in Python, which tells no offsets: its prompt's are counted alone.

    Args:
        tokenizer: of transformers.
        string: prompt and text.
        prompt: the whole prompt, and its part after the instruction.
        length: maximum tokens.
    """
    ids = tokenizer.encode(string, add_special_tokens=False, split_special_tokens=True, verbose=False)
    own, after = (min(count_tokens(tokenizer, part), len(ids)) for part in prompt)
    offsets = [(index, index + 1) for index in range(len(ids))]
    kept = kept_of_side(offsets, own, after, length - int(tokenizer.num_special_tokens_to_add()))
    whole = tokenizer.build_inputs_with_special_tokens([ids[index] for index in kept])
    return CutText(SimpleNamespace(ids=whole), len(ids) - len(kept), None, own - sum(index < own for index in kept))
