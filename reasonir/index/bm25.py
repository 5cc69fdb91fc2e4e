"""BM25 by bm25s (Lu 2024, arXiv:2407.03618) with Lucene's term weights, English stop words and Snowball stems.

The baseline of every trained retriever. Like Lucene, it ranks only documents that share a word with the query. Words
are runs of two letters, digits or marks and more, and names like C++ and F#. Scripts without spaces between words
(Chinese, Japanese, Thai, ...), and Korean, whose words end in particles, give their characters and pairs of characters,
as Lucene's analyser for them does; like there, full-width letters and half-width kana are the usual ones.

`weigh_query` also gives the query's words BM25 weights, as if the query were a document: BRIGHT's code does so without
documenting it, and plain BM25 doesn't reproduce its published row.

Shape letter: N documents.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar
from unicodedata import normalize

import numpy as np

from reasonir.index.base import Form, excluded_positions
from reasonir.index.topk import top_above_zero
from reasonir.types import Corpus, Run, Text
from reasonir.utils.progress import progress
from reasonir.utils.ranges import NonNegativeFloat, Rule, Share, Validated
from reasonir.utils.scripts import UNSPACED, marks

_TEXTS_PER_BLOCK = 8192
_WORDS = "of 2 characters and more; 1 and 2 characters in scripts without spaces and Korean"
_PAIRED = f"{UNSPACED}\uac00-\ud7a3"
_OTHER_WIDTH = re.compile("[\uff01-\uffee]+")
_LISTED = "en english de german nl dutch fr french es spanish pt portuguese it italian ru russian sv swedish"
_STOPWORDS = Rule(
    lambda language: language in f"{_LISTED} no norwegian zh chinese tr turkish ko korean da danish en_plus".split(),
    "a language of bm25s's stop words, such as en or de",
)


def _is_stemmed(language: str) -> bool:
    import Stemmer

    return language in Stemmer.algorithms()


_STEMMER = Rule(_is_stemmed, "a language of Snowball's stemmers, such as english or german")


@dataclass(slots=True)
class Bm25(Validated):
    """Ranks by shared words.

    Attributes:
        k1: saturation of repeated words.
        b: penalty of long documents.
        stemmer: Snowball language, or None for no stemming.
        stopwords: language of the stop words, or None for none.
        weigh_query: weight the query's known words by BM25 as well, instead of counting each mention once.
    """

    k1: NonNegativeFloat = 0.9
    b: Share = 0.4
    stemmer: Annotated[str, _STEMMER] | None = "english"
    stopwords: Annotated[str, _STOPWORDS] | None = "en"
    weigh_query: bool = False
    corpus: Corpus = field(init=False, repr=False)
    measured: Mapping[str, float] = field(init=False, default_factory=dict)
    _index: Any = field(init=False, default=None)
    _mean_length: float = field(init=False, default=0.0)
    name: ClassVar[str] = "bm25"
    neural: ClassVar[bool] = False
    form: ClassVar[Form | None] = None

    @property
    def settings(self) -> dict[str, float | str | bool | None]:
        """Options that determine its rankings."""
        return {
            "k1": self.k1,
            "b": self.b,
            "stemmer": self.stemmer,
            "stopwords": self.stopwords,
            "weigh_query": self.weigh_query,
            "words": _WORDS,
        }

    def build(self, corpus: Corpus) -> None:
        """Index the words of the corpus."""
        self.corpus = corpus
        self._index = _library().BM25(method="lucene", k1=self.k1, b=self.b)
        words = self._tokens(corpus.texts)
        self._mean_length = sum(map(len, words)) / max(1, len(words))
        if self._mean_length:
            self._index.index(words, show_progress=False)

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`."""
        run: Run = {}
        excluded = excluded_positions(list(queries), self.corpus, exclude)
        for query_id, scores_N, positions in zip(queries, self.scores(list(queries.values())), excluded, strict=True):
            scores_N[positions] = 0.0
            run[query_id] = {self.corpus.ids[i]: float(scores_N[i]) for i in top_above_zero(scores_N, k).tolist()}
        return run

    def scores(self, queries: Sequence[Text]) -> Iterator[np.ndarray]:
        """Yield scores_N of each query with every document of the corpus; 0 without a shared word."""
        words_of = self._tokens([query.text for query in queries])
        for words in progress(words_of, "Searching by words", total=len(queries)):
            yield self._scores(words) if words and self._mean_length else np.zeros(len(self.corpus))

    def _scores(self, query: Sequence[str]) -> np.ndarray:
        """Return scores_N of a query's words."""
        if not self.weigh_query:
            return np.asarray(self._index.get_scores(query))
        weights, columns = self._index.scores, self._index.vocab_dict
        counts = Counter(columns[word] for word in query if word in columns)
        saturation = self.k1 * (1 - self.b + self.b * counts.total() / self._mean_length)
        scores_N = np.zeros(len(self.corpus))
        for column, count in counts.items():
            rows = slice(weights["indptr"][column], weights["indptr"][column + 1])
            containing = rows.stop - rows.start
            idf = math.log(1 + (len(self.corpus) - containing + 0.5) / (containing + 0.5))
            scores_N[weights["indices"][rows]] += idf * count / (count + saturation) * weights["data"][rows]
        return scores_N

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        import Stemmer

        stem = Stemmer.Stemmer(self.stemmer) if self.stemmer else None
        tokens: list[list[str]] = []
        starts = range(0, len(texts), _TEXTS_PER_BLOCK)
        for start in progress(starts, "Reading words, in blocks of texts", total=len(starts)):
            tokens += _library().tokenize(
                [spaced(text) for text in texts[start : start + _TEXTS_PER_BLOCK]],
                token_pattern=_word().pattern,
                stopwords=self.stopwords or [],
                stemmer=stem,
                return_ids=False,
                show_progress=False,
            )
        return tokens


@lru_cache(maxsize=1)
def _library() -> Any:
    """Import bm25s without JAX, whose first call there would take three quarters of a GPU's memory."""
    modules: dict[str, Any] = sys.modules
    hidden = modules.setdefault("jax", None) is None
    import bm25s

    if hidden:
        del modules["jax"]
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # its import lowers it
    return bm25s


def spaced(text: str) -> str:
    """Return a text, its accents composed, with spaces between the characters, and pairs, of scripts without spaces.

    >>> spaced("梅雨は ｒａｉｎ")
    ' 梅 雨 は 梅雨 雨は  rain'
    """
    if text.isascii():
        return text
    usual = normalize("NFC", _OTHER_WIDTH.sub(lambda run: normalize("NFKC", run.group()), text))
    return _paired().sub(_characters_and_pairs, usual)


def _characters_and_pairs(run: re.Match[str]) -> str:
    word = run.group()
    return f" {' '.join([*word, *map(''.join, pairwise(word))])} "


@lru_cache(maxsize=1)
def _paired() -> re.Pattern[str]:
    return re.compile(rf"(?:(?=[\w{marks()}])[{_PAIRED}])+")


@lru_cache(maxsize=1)
def _word() -> re.Pattern[str]:
    letter = rf"[\w{marks()}]"
    return re.compile(rf"{letter}{{2,}}|(?={letter})[{_PAIRED}]|\w(?:\+\+|#)")
