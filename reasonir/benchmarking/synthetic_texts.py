"""Synthetic texts with the length distribution of a collection, which determines a step's time and memory.

Lengths are in tokens of the model's tokenizer, special tokens included, and spread evenly over the quantiles, so that
a small step has long texts too. Texts consist of words of the demo corpus that are one token each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen

from reasonir.data.demo import build_world
from reasonir.errors import InputError
from reasonir.utils.ranges import Ascending, Positive, Seed, Share, Validated

_LEAST_WORDS = 32


_Lengths = Annotated[Sequence[Positive], MinLen(1), Ascending]


@dataclass(frozen=True, slots=True)
class SyntheticTexts(Validated):
    """Queries and documents by the quantiles of their lengths.

    Attributes:
        name: name of the workload.
        quantiles: shares of the texts, ascending.
        queries: maximum length of each share of the queries, in tokens.
        documents: maximum length of each share of the documents, in tokens.
        seed: seed of lengths and words.
    """

    name: str
    quantiles: Annotated[Sequence[Share], Ascending]
    queries: _Lengths
    documents: _Lengths
    seed: Seed = 0

    def problems(self) -> Iterable[str]:
        """Lengths and quantiles of different number."""
        for key in ("queries", "documents"):
            if (count := len(getattr(self, key))) != len(self.quantiles):
                yield (
                    f"{key} has {count} lengths and quantiles {len(self.quantiles)} shares: "
                    "give a length for each share"
                )

    def columns(self, tokenizer: Any, count: int, negatives: int) -> list[list[str]]:
        """See `WorkloadTexts`."""
        words = _words(tokenizer)
        special = int(tokenizer.num_special_tokens_to_add())
        draw = np.random.default_rng(self.seed)
        seen: set[str] = set()
        queries = self._lengths(self.queries, count, draw)
        documents = self._lengths(self.documents, count * (1 + negatives), draw)
        columns = [list(_texts(queries - special, words, seen, draw))]
        texts = list(_texts(documents - special, words, seen, draw))
        _refuse_other_lengths(tokenizer, [*columns[0], *texts], [*queries, *documents])
        return columns + [texts[start : start + count] for start in range(0, len(texts), count)]

    def _lengths(self, lengths: Sequence[int], count: int, draw: np.random.Generator) -> np.ndarray:
        shares = (draw.permutation(count) + draw.random(count)) / count
        return np.rint(np.interp(shares, self.quantiles, lengths)).astype(int)


def _words(tokenizer: Any) -> list[str]:
    """Return words of the demo corpus that are one token at any position."""
    words = sorted({word for text in build_world(0, 1).texts() for word in text.split() if word.isalpha()})
    together = tokenizer([f"{word} {word}" for word in words], add_special_tokens=False)["input_ids"]
    single = [word for word, ids in zip(words, together, strict=True) if len(ids) == 2]
    if len(single) < _LEAST_WORDS:
        raise InputError(
            f"the model's tokenizer has {len(single)} words of the demo corpus as one token each, {_LEAST_WORDS} are "
            "needed: choose workload=data"
        )
    return single


def _texts(sizes: np.ndarray, words: list[str], seen: set[str], draw: np.random.Generator) -> Iterator[str]:
    for size in sizes:
        text = ""
        while not text or text in seen:
            text = " ".join(words[index] for index in draw.integers(len(words), size=max(1, int(size))))
        seen.add(text)
        yield text


def _refuse_other_lengths(tokenizer: Any, texts: list[str], wanted: list[int]) -> None:
    least = int(tokenizer.num_special_tokens_to_add()) + 1
    counted = [len(ids) for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
    for count, length in zip(counted, wanted, strict=True):
        if count != max(least, length):
            raise InputError(
                f"the model's tokenizer makes {count} tokens of {length} words: it joins words: choose workload=data"
            )
