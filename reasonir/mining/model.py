"""Negatives that a model takes for relevant: its own ranking, by whatever index suits its head.

Any retriever can mine for any other. What the ranking depends on is the hash of the checkpoint's files, wherever they
lie, so the negatives of one round of training are never taken for those of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from reasonir.utils.ranges import NonNegative, Validated


@dataclass(frozen=True, slots=True)
class Neural(Validated):
    """Searches by a model.

    Attributes:
        model: the model, as it is.
        index: searches with it.
        hardware: where it runs.
        seed: draws parameters that the checkpoint doesn't bring.
    """

    model: Model | None
    index: Callable[[Embedder], Index]
    hardware: Hardware
    seed: NonNegative = 0

    @property
    def name(self) -> str:
        """Of the way of searching."""
        return "model"

    def identity(self) -> Mapping[str, Any]:
        """The hashes of the checkpoint's files, and the options of head, prompts and index.

        Raises:
            InputError: there is no model, or it can't be reached.
        """
        return {**identity_of(self._model()), "index": options_of(self.index), "seed": self.seed}

    def open(self, corpus: Corpus) -> NeuralRanker:
        """Load the model and index the corpus."""
        encoder = self._model().load(seed=self.seed).to(self.hardware.resolve().torch_device)
        index = self.index(CachingEncoder(encoder))  # says how far it is
        index.build(corpus)
        return NeuralRanker(encoder, index, dict(zip(corpus.ids, corpus.texts, strict=True)))

    def _model(self) -> Model:
        if self.model is None:
            raise InputError("mining=model has no model to search with: name one (model=minilm), or run=outputs/<run>")
        return self.model


@dataclass(frozen=True, slots=True)
class NeuralRanker:
    """A model, its index, and the corpus's texts by id."""

    encoder: Encoder
    index: Index
    texts: Mapping[str, str]

    def search(self, queries: Mapping[str, Text], k: int) -> Run:
        """See `Ranker.search`."""
        return self.index.search(queries, k)

    @torch.no_grad()
    def score(self, queries: Mapping[str, Text], documents: Mapping[str, Sequence[str]]) -> Run:
        """See `Ranker.score`: by the model itself, whatever the index makes of its vectors."""
        if not documents:
            return {}
        asked = {doc_id: None for doc_ids in documents.values() for doc_id in doc_ids}
        place = {doc_id: number for number, doc_id in enumerate(asked)}
        query_representation = self.encoder.encode([queries[query_id] for query_id in documents], "query")
        representation = self.encoder.encode([Text(self.texts[doc_id]) for doc_id in asked], "document")
        run: Run = {}
        for number, (query_id, doc_ids) in enumerate(documents.items()):
            chosen = representation.take(torch.tensor([place[doc_id] for doc_id in doc_ids]))
            scores_1N = self.encoder.head.score(query_representation.take(torch.tensor([number])), chosen)
            run[query_id] = dict(zip(doc_ids, scores_1N[0].tolist(), strict=True))
        return run
