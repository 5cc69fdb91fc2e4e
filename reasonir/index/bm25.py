"""BM25 by bm25s (Lu 2024, arXiv:2407.03618) with Lucene's term weights, English stop words and Snowball stems.

The baseline every trained retriever stands beside. Like Lucene, it ranks only documents that share a word with the
query.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from reasonir.index.base import excluded_places
from reasonir.types import Corpus, Run, Text


@dataclass(slots=True)
class Bm25:
    """Ranks by shared words.

    Attributes:
        k1: how soon a repeated word stops counting.
        b: how much long documents are held back.
        stemmer: Snowball language, or None to take words as they are.
        stopwords: language of the list of ignored words, or None to ignore none.
    """

    k1: float = 0.9
    b: float = 0.4
    stemmer: str | None = "english"
    stopwords: str | None = "en"
    corpus: Corpus = field(init=False)
    _index: Any = field(init=False, default=None)
    neural: ClassVar[bool] = False

    def build(self, corpus: Corpus) -> None:
        """Count the words of the corpus."""
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # importing it makes it talkative
        self.corpus = corpus
        self._index = bm25s.BM25(method="lucene", k1=self.k1, b=self.b)
        self._index.index(self._tokens(corpus.texts), show_progress=False)

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`."""
        run: Run = {}
        excluded = excluded_places(list(queries), self.corpus, exclude)
        words = self._tokens([text.text for text in queries.values()])
        for query_id, query, places in zip(queries, words, excluded, strict=True):
            scores_N = self._index.get_scores(query) if query else np.zeros(len(self.corpus))
            scores_N[places] = 0.0
            top = np.argsort(-scores_N, kind="stable")[:k]
            run[query_id] = {self.corpus.ids[i]: float(scores_N[i]) for i in top.tolist() if scores_N[i] > 0}
        return run

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        import bm25s
        import Stemmer

        stem = Stemmer.Stemmer(self.stemmer) if self.stemmer else None
        return bm25s.tokenize(  # type: ignore[no-any-return]
            list(texts), stopwords=self.stopwords or [], stemmer=stem, return_ids=False, show_progress=False
        )
