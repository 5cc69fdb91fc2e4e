"""Batches from rows of a prepared set, drawn and tokenised in the loader's workers.

Shape letters: I items, P query-document pairs, K known relations, T tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from reasonir.data.base import bytes_key, copy_key
from reasonir.data.batch import Batch, PairBatch, Relation, Tokens
from reasonir.data.batches.loader import BatchPlan
from reasonir.data.prepared import MASKED, example_of, row_of
from reasonir.types import Document, Example, Pair, Side, Text

Tokenize = Callable[[Sequence[Text], Side], Tokens]
TokenizePairs = Callable[[Sequence[Pair]], tuple[Tokens, Tensor]]
Assemble = Callable[[int, "Sequence[QueryGroup]"], Any]
SameQuery = Mapping[tuple[int, str], Sequence[int]]
"""(query key, instruction) -> keys of all its positives, for queries that occur in several rows."""
ALL, NONE = -1, -2


@dataclass(frozen=True)
class Items:
    """Items of an epoch: a row with one of its positives, or with `ALL` or `NONE` of them."""

    row_I: np.ndarray
    positive_I: np.ndarray

    def __len__(self) -> int:
        return len(self.row_I)

    @classmethod
    def of(cls, rows: Any, chosen: np.ndarray, *, positives: str) -> Items:
        """Return the items of the rows `chosen`: "each" relevant pair, or each query with "all" its relevant documents.

        A row without a relevant document is one item of its negatives.
        """
        if positives == "all":
            return cls(chosen, np.full(len(chosen), ALL))
        counts = np.array([len(keys) for keys in rows.select(chosen)["pos_keys"]], dtype=np.int64)
        times = np.maximum(counts, 1)
        row_I = np.repeat(chosen, times)
        positive_I = np.arange(len(row_I)) - np.repeat(times.cumsum() - times, times)
        return cls(row_I, np.where(np.repeat(counts, times) == 0, NONE, positive_I))


@dataclass(frozen=True, slots=True)
class QueryGroup:
    """Query of a batch with the documents drawn for it, by key, and the keys of all that aren't its negatives."""

    query: Text
    known: frozenset[int]
    documents: Sequence[tuple[int, Document]]


@dataclass(frozen=True)
class Batches(Dataset[Any]):
    """Batches by their plan: `batches[plan]`.

    Attributes:
        rows: the prepared set.
        items: the items that plans number.
        assemble: makes a batch of a step's groups with a head's tokenizer; picklable.
        negatives: hard negatives drawn per item, fewer where the row has fewer.
        dropped: keys of documents that training must not see.
        seed: determines the draws, together with the item and how often it was taken.
        same_query: see `SameQuery`.
    """

    rows: Any
    items: Items
    assemble: Assemble
    negatives: int
    dropped: frozenset[int]
    seed: int
    same_query: SameQuery

    def __getitem__(self, plan: BatchPlan) -> Any:
        taken = zip(plan.items.tolist(), plan.turn_I.tolist(), strict=True)
        return self.assemble(plan.step, [self._group(item, turn) for item, turn in taken])

    def _group(self, item: int, turn: int) -> QueryGroup:
        row = self.rows[int(self.items.row_I[item])]
        # No negative of it either: what equals the query, is excluded from its ranking, or masked by a guide.
        same_query = self.same_query.get((row["query_key"], row["instruction"]), ())
        left_out = (*row["excluded_keys"], *row.get(MASKED, ()))
        known = frozenset({row["query_key"], *row["pos_keys"], *left_out, *same_query})
        return QueryGroup(Text(row["query"], row["instruction"]), known, list(self._drawn(row, item, turn, known)))

    def _drawn(self, row: Any, item: int, turn: int, known: frozenset[int]) -> Iterator[tuple[int, Document]]:
        """Yield an item's documents with their keys: its positives, then hard negatives drawn without repetition.

        Documents of `known` are no negatives.
        """
        documents = example_of(row).documents
        positive = int(self.items.positive_I[item])
        chosen = {ALL: range(len(row["pos"])), NONE: ()}.get(positive, (positive,))
        for index in chosen:
            yield row["pos_keys"][index], documents[index]
        allowed = [i for i, key in enumerate(row["neg_keys"]) if key not in self.dropped and key not in known]
        if allowed and self.negatives:
            draw = np.random.default_rng([self.seed, turn, item])
            for index in draw.choice(allowed, min(self.negatives, len(allowed)), replace=False).tolist():
                yield row["neg_keys"][index], documents[len(row["pos"]) + index]


def contrast(step: int, groups: Sequence[QueryGroup], *, tokenize: Tokenize) -> Batch:
    """Return the batch of a retriever: each distinct document once, for all queries.

    Under another instruction a document is another one. Documents with the same tokens are copies: where one is
    relevant to a query, none is its negative.
    """
    distinct: dict[int, tuple[int, Document]] = {}
    pairs, drawn = [], []
    for number, group in enumerate(groups):
        for key, document in group.documents:
            item = copy_key(document.text, document.instruction) if document.instruction else key
            distinct.setdefault(item, (key, document))
            pairs.append((number, item))
            drawn.append(document)
    index_of = {item: index for index, item in enumerate(distinct)}
    queries = tokenize([group.query for group in groups], "query")
    documents = tokenize([Text(document.text, document.instruction) for _, document in distinct.values()], "document")
    copies = _copies(list(distinct), [key for key, _ in distinct.values()], documents)
    known = [
        (number, key)
        for number, group in enumerate(groups)
        for key in sorted(group.known.union(*(copies.get(key, ()) for key in group.known)))
    ]
    known_query_K, known_K = zip(*known, strict=True)
    query_P, document_P = zip(*((number, index_of[item]) for number, item in pairs), strict=True)
    return Batch(
        step=step,
        queries=queries,
        documents=documents,
        relation=Relation(
            torch.tensor(query_P),
            torch.tensor(document_P),
            torch.tensor([document.label for document in drawn]),
            _teachers(drawn),
            torch.tensor(list(index_of)),
            torch.tensor(known_query_K),
            torch.tensor(known_K),
            torch.tensor([bytes_key(ids) for ids in _token_bytes(queries)]),
        ),
    )


def _copies(items: Sequence[int], keys: Sequence[int], documents: Tokens) -> dict[int, list[int]]:
    """Return the items that have the text of a key, or the same tokens, by key."""
    same_tokens: dict[bytes, list[int]] = defaultdict(list)
    for index, ids in enumerate(_token_bytes(documents)):
        same_tokens[ids].append(index)
    alike: dict[int, list[int]] = defaultdict(list)
    for indices in same_tokens.values():
        for index in indices:
            alike[keys[index]] += [items[other] for other in indices]
    return alike


def _token_bytes(tokens: Tokens) -> Iterator[bytes]:
    return (ids.numpy().tobytes() for ids in torch.split(tokens.ids_T, tokens.lengths_N.tolist()))


def pair(step: int, groups: Sequence[QueryGroup], *, tokenize: TokenizePairs) -> PairBatch:
    """Return the batch of a head that reads query and document together: each drawn pair."""
    drawn = [document for group in groups for _, document in group.documents]
    tokens, token_label_T = tokenize(
        [
            Pair(group.query, Text(document.text, document.instruction), document.spans, document.span_labels)
            for group in groups
            for _, document in group.documents
        ]
    )
    return PairBatch(
        step=step,
        tokens=tokens,
        query_P=torch.repeat_interleave(torch.tensor([len(group.documents) for group in groups])),
        label_P=torch.tensor([document.label for document in drawn]),
        teachers_P=_teachers(drawn),
        token_label_T=token_label_T,
    )


def _teachers(drawn: Sequence[Document]) -> dict[str, Tensor]:
    return {name: torch.tensor([document.teachers[name] for document in drawn]) for name in drawn[0].teachers}


def groups_of(examples: Sequence[Example]) -> list[QueryGroup]:
    """Return the groups of these examples, each with its first positive and all its negatives."""
    rows = [row_of(example) for example in examples]
    items = Items(np.arange(len(rows)), np.zeros(len(rows), dtype=int))
    negatives = max(len(row["neg"]) for row in rows)
    batches = Batches(rows, items, lambda _, groups: groups, negatives, frozenset(), 0, {})
    plan = BatchPlan(0, np.zeros(len(rows), dtype=int), np.arange(len(rows)))
    return batches[plan]  # type: ignore[no-any-return]


def positives_of_repeated_queries(rows: Any) -> SameQuery:
    """Return the positives of the queries that occur in several rows."""
    keys = rows["query_key"][:]
    repeated = {key for key, count in zip(*np.unique(keys, return_counts=True), strict=True) if count > 1}
    if not repeated:
        return {}
    positives_of: dict[tuple[int, str], list[int]] = defaultdict(list)
    for key, instruction, positives in zip(keys, rows["instruction"][:], rows["pos_keys"][:], strict=True):
        if key in repeated:
            positives_of[key, instruction] += positives
    return dict(positives_of)
