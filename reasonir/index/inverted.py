"""Exact search of sparse vectors by an inverted index: a query reads the documents of its own terms alone.

The corpus is encoded once; the index is SciPy's sparse matrix with a row of documents per term, 8 bytes per weight.
Scores are those of `index=exact` bit for bit, and like in BM25, documents that share no term with the query aren't
ranked.

Shape letters: N documents, U distinct texts, Q queries, V terms of the vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from reasonir.index.base import Form, excluded_positions, incompatibility
from reasonir.index.dedup import Duplicates
from reasonir.index.topk import top_above_zero
from reasonir.model.encoder import ENCODE_TOKENS, Embedder
from reasonir.model.sparse import Sparsity, rows_of
from reasonir.types import Corpus, PlainTexts, Run, Text
from reasonir.utils.progress import progress
from reasonir.utils.ranges import Positive, Validated

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Inverted(Validated):
    """Ranks by the inner product of the terms' weights.

    Attributes:
        encoder: the model; its head gives sparse vectors.
        tokens: padded tokens of an encoding micro-batch.
    """

    encoder: Embedder
    tokens: Positive = ENCODE_TOKENS
    corpus: Corpus = field(init=False)
    measured: Mapping[str, float] = field(init=False, default_factory=dict)
    _distinct: Duplicates = field(init=False)
    _weights_VU: Any = field(init=False)
    _sparsity: Sparsity = field(init=False)
    name: ClassVar[str] = "inverted"
    neural: ClassVar[bool] = True
    form: ClassVar[Form | None] = "sparse"

    def problems(self) -> Iterable[str]:
        """Yield an incompatibility with the head."""
        if fault := incompatibility(type(self), type(self.encoder.head)):
            yield fault

    def build(self, corpus: Corpus) -> None:
        """Encode the corpus and index its terms."""
        from scipy.sparse import vstack

        size = self.encoder.head.size
        self.corpus, self._distinct, self._sparsity = corpus, Duplicates.of(corpus.texts), Sparsity(size)
        blocks = []
        texts = PlainTexts(self._distinct.texts)
        for _, representation in self.encoder.stream(texts, "document", budget=self.tokens):
            self._sparsity.add(representation)
            blocks.append(rows_of(representation, size))
        self._weights_VU = vstack(blocks).T.tocsr()
        log.info("Indexed %d texts (%d weights of %d terms)", len(texts), self._weights_VU.nnz, size)

    def search(
        self, queries: Mapping[str, Text], k: int, *, exclude: Mapping[str, frozenset[str]] | None = None
    ) -> Run:
        """See `Index.search`."""
        excluded = excluded_positions(list(queries), self.corpus, exclude)
        encoded = self.encoder.encode(list(queries.values()), "query", budget=self.tokens)
        weights_QV = rows_of(encoded, self.encoder.head.size)
        run: Run = {}
        for number, (query_id, hidden) in progress(
            enumerate(zip(queries, excluded, strict=True)), "Searching", total=len(queries)
        ):
            scores_U = (weights_QV[[number]] @ self._weights_VU).toarray()[0]
            scores_N = scores_U[self._distinct.text_N]
            scores_N[hidden] = 0.0
            run[query_id] = {self.corpus.ids[i]: float(scores_N[i]) for i in top_above_zero(scores_N, k).tolist()}
        self.measured = self._sparsity.report(encoded)
        return run
