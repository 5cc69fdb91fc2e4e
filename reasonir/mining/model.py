"""Hard negatives from a retriever's own ranking, with whatever index suits its head.

Any retriever can mine for any other. The ranking is identified by the hashes of the checkpoint's files, wherever they
are, so negatives of one training round are never reused for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from reasonir.errors import InputError
from reasonir.hardware import Hardware
from reasonir.index.base import Index
from reasonir.model.backbone import Model
from reasonir.model.caching_encoder import CachingEncoder
from reasonir.model.encoder import Embedder, Encoder
from reasonir.model.fingerprint import identity_of, options_of
from reasonir.types import Corpus, Run, Text
from reasonir.utils.ranges import Seed, Validated


@dataclass(frozen=True, slots=True)
class Neural(Validated):
    """Search with a retriever.

    Attributes:
        model: the retriever.
        index: makes the index that searches its embeddings.
        hardware: device that the retriever runs on.
        seed: draws parameters that the checkpoint lacks.
    """

    model: Model | None
    index: Callable[[Embedder], Index]
    hardware: Hardware
    seed: Seed = 0

    def problems(self) -> Iterable[str]:
        """Yield a message for a model that can't search."""
        if self.model is not None and self.model.reads_pairs:
            yield (
                f"model.path={self.model.path} has a head that reads pairs, and searching takes one that reads texts: "
                "choose mining=bm25, or mine with a retriever first (reasonir.mine) and train on data=prepared"
            )

    @property
    def name(self) -> str:
        """See `Searcher.name`."""
        return "model"

    def identity(self) -> Mapping[str, Any]:
        """Return the hashes of the checkpoint's files, and the options of head, prompts and index.

        Raises:
            InputError: there is no model, or it isn't available.
        """
        return {**identity_of(self._model()), "index": options_of(self.index), "seed": self.seed}

    def open(self, corpus: Corpus) -> NeuralRanker:
        """Load the model and index the corpus."""
        encoder = self._model().load(seed=self.seed).to(self.hardware.resolve().torch_device)
        index = self.index(CachingEncoder(encoder))  # shows its progress
        index.build(corpus)
        return NeuralRanker(encoder, index, dict(zip(corpus.ids, corpus.texts, strict=True)))

    def _model(self) -> Model:
        if self.model is None:
            raise InputError("mining=model has no model to search with: name one (model=minilm), or run=outputs/<run>")
        return self.model


@dataclass(frozen=True, slots=True)
class NeuralRanker:
    """Retriever, its index, and the corpus's texts by id."""

    encoder: Encoder
    index: Index
    texts: Mapping[str, str]

    def search(self, queries: Mapping[str, Text], k: int) -> Run:
        """See `Ranker.search`."""
        return self.index.search(queries, k)

    @torch.no_grad()
    def score(self, queries: Mapping[str, Text], documents: Mapping[str, Sequence[str]]) -> Run:
        """See `Ranker.score`; exact, even if the index is approximate."""
        if not documents:
            return {}
        distinct = dict.fromkeys(doc_id for doc_ids in documents.values() for doc_id in doc_ids)
        row_of = {doc_id: row for row, doc_id in enumerate(distinct)}
        query_representation = self.encoder.encode([queries[query_id] for query_id in documents], "query")
        representation = self.encoder.encode([Text(self.texts[doc_id]) for doc_id in distinct], "document")
        run: Run = {}
        for number, (query_id, doc_ids) in enumerate(documents.items()):
            chosen = representation.take(torch.tensor([row_of[doc_id] for doc_id in doc_ids]))
            scores_1N = self.encoder.head.score(query_representation.take(torch.tensor([number])), chosen)
            run[query_id] = dict(zip(doc_ids, scores_1N[0].tolist(), strict=True))
        return run
