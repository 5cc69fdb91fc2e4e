"""Answers of a served retriever, reranker or pruner to a request's records.

Every record has `query`, and `documents` unless the retriever has a corpus to search; it may have an `instruction`. Its
answer is a list, best first: `id`, `text`, `score` from a retriever; `position` (index in the documents) and `score`
from a reranker; from a pruner these, the `kept` text and every sentence's probability. Parameters: `top_k` (default 10
for a retriever, all for others) and a pruner's `threshold`. Other formats ask for vectors (`embed`) or for scores of
documents (`score`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from reasonir.data.batch import Representation
from reasonir.errors import InputError
from reasonir.inference.arguments import many_strings, one_query
from reasonir.inference.pruner import Pruned, Pruner
from reasonir.inference.reranker import Reranker
from reasonir.inference.retriever import Retriever
from reasonir.model.encoder import blocks
from reasonir.publishing.turns import Deadline, Turns
from reasonir.types import Pair, Side, Text
from reasonir.utils.ranges import Positive, PositiveFloat, Validated

TOP_K = 10
"""Default number of a retriever's hits."""
_FIELDS = ("query", "documents", "instruction")
_PARAMETERS = ("top_k", "threshold")


@dataclass(frozen=True, slots=True)
class Limits(Validated):
    """What one request may ask for.

    Attributes:
        documents: documents of all its records.
        bytes: bytes of its texts; over HTTP, of its body.
        seconds: until its answer, waiting included.
    """

    documents: Positive = 1000
    bytes: Positive = 16_000_000
    seconds: PositiveFloat = 60.0

    def deadline(self) -> Deadline:
        """Return the deadline of a request that arrives now."""
        return Deadline(self.seconds)

    def check(self, documents: Sequence[object], others: Sequence[tuple[object, int]] = ()) -> None:
        """Refuse more documents, or more bytes of them and of other texts, each counted as often as it is read.

        Raises:
            InputError: naming the number and the limit.
        """
        if len(documents) > self.documents:
            raise InputError(f"{len(documents):,} documents, at most {self.documents:,} in a request: split it")
        texts = [*((text, 1) for text in documents), *others]
        size = sum(len(text.encode(errors="replace")) * times for text, times in texts if isinstance(text, str))
        if size > self.bytes:
            raise InputError(f"{size:,} bytes of text, at most {self.bytes:,} in a request: split it")


class Answers:
    """Answers of a model; several threads may ask at once.

    Args:
        model: the model, a retriever perhaps with documents to search.
        limits: of each request.
        name: of the model, for clients.
    """

    def __init__(self, model: Retriever | Reranker | Pruner, limits: Limits, *, name: str = "reasonir") -> None:
        self.model, self.limits, self.name = model, limits, name
        self._turns = Turns()
        model.encoder.between = self._turns.pass_on

    def answer(
        self, records: Sequence[Mapping[str, Any]], params: Mapping[str, Any], deadline: Deadline
    ) -> list[list[dict[str, Any]]]:
        """Answer each record.

        Raises:
            InputError: naming the record, the parameter or the limit.
            TooLateError, GoneError: see `reasonir.publishing.turns`.
        """
        lists = [texts for record in records if isinstance(texts := record.get("documents"), list)]
        others = [each for record in records for each in self._times_read(record, record.get("documents"))]
        self.limits.check([text for texts in lists for text in texts], others)
        refuse_unknown(params, _PARAMETERS, "params")
        answers = []
        with self._turns.taken(deadline):
            for number, record in enumerate(records):
                try:
                    answers.append(self._answer(record, params))
                except InputError as error:
                    raise InputError(f"record {number}: {error}") from error
        return answers

    def embed(self, texts: Sequence[Text], side: Side, deadline: Deadline) -> tuple[Representation, int]:
        """Return the vectors of texts, on the CPU, and the number of tokens read for them.

        Raises:
            InputError: the limits, or a model that doesn't give one vector per text.
            TooLateError, GoneError: see `reasonir.publishing.turns`.
        """
        head = self.model.encoder.head
        if not isinstance(self.model, Retriever):
            raise InputError(
                f"this model is a {head.kind}, which gives texts no vectors: POST /rerank scores documents"
            )
        if not head.single_vector or head.sparse:
            gives = "a weight per term" if head.sparse else "a vector per token"
            raise InputError(
                f"this model gives a text {gives}, not one embedding: POST /rerank scores documents with it"
            )
        self.limits.check([text.text for text in texts], [(text.instruction, 1) for text in texts])
        parts, read = [], 0
        with self._turns.taken(deadline):
            for _, chosen in blocks(texts):
                tokens = head.tokenizer(chosen, side)
                read += int(tokens.lengths_N.sum())
                parts.append(self.model.encoder.represent(tokens))
        return Representation.join(parts).to(device=torch.device("cpu")), read

    def score(self, query: Text, documents: Sequence[str], deadline: Deadline, *, logits: bool) -> list[float]:
        """Return the score of each document: a retriever's similarity, else the probability of relevance or its logit.

        Raises:
            InputError: the limits.
            TooLateError, GoneError: see `reasonir.publishing.turns`.
        """
        self.limits.check(
            documents, self._times_read({"query": query.text, "instruction": query.instruction}, documents)
        )
        with self._turns.taken(deadline):
            if isinstance(self.model, Retriever):
                return [float(score) for score in self.model.score([query], documents)[0]]
            if logits:
                pairs = [Pair(query, Text(document)) for document in documents]
                return [float(score) for score in self.model.encoder.score_pairs(pairs)]
            return self.model.score(query, documents)

    def _times_read(self, record: Mapping[str, Any], documents: object) -> list[tuple[object, int]]:
        """Return a query and its instruction with the times they are read: for every document by a model of pairs."""
        times = len(documents) if isinstance(documents, list) and self.model.encoder.head.reads_pairs else 1
        return [(record.get("query"), times), (record.get("instruction"), times)]

    def _answer(self, record: Mapping[str, Any], params: Mapping[str, Any]) -> list[dict[str, Any]]:
        refuse_unknown(record, _FIELDS, "the record")
        texts, top_k = record.get("documents"), params.get("top_k")
        query = one_query(Text(record.get("query"), record.get("instruction") or ""))  # type: ignore[arg-type]
        documents = None if texts is None else many_strings(texts, "documents")
        if isinstance(self.model, Retriever):
            return self._retrieve(query, documents, TOP_K if top_k is None else top_k)
        if documents is None:
            raise InputError("documents is missing: give the texts to order")
        if isinstance(self.model, Pruner):
            threshold = params.get("threshold")
            pruner = self.model if threshold is None else replace(self.model, threshold=threshold)
            return [_as_json(pruned) for pruned in pruner.prune(query, documents, top_k=top_k, reorder=True)]
        return [ranked._asdict() for ranked in self.model.rerank(query, documents, top_k)]

    def _retrieve(self, query: Text, documents: Sequence[str] | None, top_k: int) -> list[dict[str, Any]]:
        retriever = self.model
        assert isinstance(retriever, Retriever)
        if documents is not None:
            retriever = Retriever(retriever.encoder)
            retriever.add_documents(documents, range(len(documents)))
        elif not len(retriever):
            raise InputError("documents is missing, and this model has no corpus to search: give texts to search")
        return [hit._asdict() for hit in retriever.retrieve(query, top_k)]


def refuse_unknown(values: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    """Refuse names that a request doesn't have.

    Raises:
        InputError: naming them and the known ones.
    """
    if unknown := [str(name) for name in values if name not in known]:
        raise InputError(f"{what} has {', '.join(map(repr, unknown))}: give {', '.join(known)} alone")


def _as_json(pruned: Pruned) -> dict[str, Any]:
    ordered = sorted([*pruned.kept, *pruned.dropped], key=lambda sentence: sentence.start)
    sentences = [{"text": sentence.text, "probability": sentence.probability} for sentence in ordered]
    return {"position": pruned.position, "score": pruned.score, "kept": pruned.text, "sentences": sentences}
