"""Reading of texts without their control tokens: a "</s>" in a document is three signs, one in a prompt the token.

Control tokens are a tokenizer's special ones, and other added ones that a prompt or template uses. A copy of the
tokenizer has them under random names, in the vocabulary as well, so that no text contains them; prompts are rewritten
to these names. Any other text gets the tokens that the tokenizer itself gives it. Truncation drops the end.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from reasonir.errors import InputError

_PRIVATE = 0x100000
"""First character of the last private-use plane."""


@dataclass(frozen=True, slots=True)
class TextReader:
    """Fast tokenizer that doesn't parse control tokens in texts.

    Attributes:
        backend: the copy, of the tokenizers library.
        names: name in `backend` of each control token, of the same length, so that offsets are those of the text.
        pattern: matches the control tokens.
    """

    backend: Any
    names: Mapping[str, str]
    pattern: re.Pattern[str]

    def rewrite(self, prompt: str) -> str:
        """Return a prompt with the names of its control tokens, which `encode` parses."""
        return self.pattern.sub(lambda found: self.names[found.group()], prompt)

    def encode(self, texts: Sequence[Any], *, length: int | None = None, special: bool = True) -> list[Any]:
        """Return the encoding of each string or pair of strings.

        Args:
            texts: strings or pairs, with rewritten prompts.
            length: maximum tokens; None for all. Encodings have the rest in `overflowing`.
            special: add the special tokens of the tokenizer's template.
        """
        if length is None:
            self.backend.no_truncation()
        else:
            self.backend.enable_truncation(length, direction="right")
        return self.backend.encode_batch(list(texts), add_special_tokens=special)  # type: ignore[no-any-return]


_readers: WeakKeyDictionary[Any, dict[tuple[Any, ...], TextReader]] = WeakKeyDictionary()


def reader_of(tokenizer: Any, prompts: Iterable[str | None] = (), ids: Iterable[int | None] = ()) -> TextReader:
    """Return the reader of a fast tokenizer; it is built once.

    Args:
        tokenizer: of transformers.
        prompts: prompts, whose added tokens are control tokens.
        ids: further control tokens: markers, or those of a template.

    Raises:
        InputError: the tokenizer is in Python.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"{tokenizer.name_or_path} has no fast tokenizer, which token offsets need: choose another checkpoint"
        )
    key = (tuple(filter(None, prompts)), tuple(ids))
    readers = _readers.setdefault(tokenizer, {})
    if key not in readers:
        used = {*key[1], *(index for prompt in key[0] for index in tokenizer.encode(prompt, add_special_tokens=False))}
        added = tokenizer.added_tokens_decoder.items()
        readers[key] = _read_by(
            tokenizer, [token.content for index, token in added if token.special or (index in used and _prints(token))]
        )
    return readers[key]


def _prints(token: Any) -> bool:
    """Return whether an added token is more than white space, of which many vocabularies have tokens."""
    return bool(token.content.strip())


def _read_by(tokenizer: Any, tokens: Sequence[str]) -> TextReader:
    from tokenizers import Tokenizer

    names = {token: "".join(chr(_PRIVATE + secrets.randbelow(0xFFFE)) for _ in token) for token in tokens}
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in state["added_tokens"]:
        if token["content"] in names:
            token |= {"content": names[token["content"]], "normalized": False}
    _rename(state["model"], names)
    backend = Tokenizer.from_str(json.dumps(state | {"truncation": None, "padding": None}))
    longest_first = sorted(names, key=len, reverse=True)
    return TextReader(backend, names, re.compile("|".join(map(re.escape, longest_first)) or "(?!)"))


def _rename(model: dict[str, Any], names: Mapping[str, str]) -> None:
    """Rename control tokens in a model's vocabulary; merges that make or use them go."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(token, token): index for token, index in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
    if "merges" in model:
        model["merges"] = [[a, b] for a, b in model["merges"] if not names.keys() & {a, b, a + b}]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
