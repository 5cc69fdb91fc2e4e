"""From rows of a prepared set to batches: drawn, deduplicated, related, tokenised. Runs in the loader's workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from reasonir.data.loader import BatchPlan
from reasonir.data.prepared import row_of
from reasonir.types import Batch, Example, Relation, Side, Text, Tokens

Tokenize = Callable[[Sequence[Text], Side], Tokens]
ALL = -1


@dataclass(frozen=True)
class Items:
    """What a pass over the data consists of: pairs of a row and one of its positives (or `ALL` of them)."""

    row_I: np.ndarray
    positive_I: np.ndarray

    def __len__(self) -> int:
        return len(self.row_I)

    @classmethod
    def of(cls, rows: Any, chosen: np.ndarray, *, positives: str) -> Items:
        """The items of the rows `chosen`: "each" relevant pair, or each query with "all" its relevant documents."""
        if positives == "all":
            return cls(chosen, np.full(len(chosen), ALL))
        counts = np.array([len(keys) for keys in rows.select(chosen)["pos_keys"]])
        row_I = np.repeat(chosen, counts)
        return cls(row_I, np.arange(len(row_I)) - np.repeat(counts.cumsum() - counts, counts))


@dataclass(frozen=True)
class Batches(Dataset[Batch]):
    """Batches by their plan: `batches[plan]`.

    Attributes:
        rows: the prepared set.
        items: what plans number.
        tokenize: the tokens of texts of a side; picklable.
        negatives: hard negatives drawn for each item, where there are any.
        dropped: keys of documents that training may not see.
        seed: decides, with the item and how often it was taken, what is drawn.
        same_query: the keys of all positives of a query, for queries that stand in several rows.
    """

    rows: Any
    items: Items
    tokenize: Tokenize
    negatives: int
    dropped: frozenset[int]
    seed: int
    same_query: dict[int, list[int]]

    def __getitem__(self, plan: BatchPlan) -> Batch:
        rows = [self.rows[int(row)] for row in self.items.row_I[plan.items]]
        documents: dict[int, Text] = {}
        place: dict[int, int] = {}
        pairs: list[tuple[int, int, float]] = []
        known: list[tuple[int, int]] = []
        taken = zip(plan.items.tolist(), plan.turn_I.tolist(), rows, strict=True)
        for number, (item, turn, row) in enumerate(taken):
            for key, text, label in self._drawn(row, item, turn):
                documents.setdefault(key, text)
                pairs.append((number, place.setdefault(key, len(place)), label))
            # A document that equals the query itself is no negative of it either.
            keys = {row["query_key"], *row["pos_keys"], *self.same_query.get(row["query_key"], ())}
            known += [(number, key) for key in keys]
        query_P, document_P, label_P = zip(*pairs, strict=True)
        known_query_K, known_K = zip(*known, strict=True)
        return Batch(
            step=plan.step,
            queries=self.tokenize([Text(row["query"], row["instruction"]) for row in rows], "query"),
            documents=self.tokenize(list(documents.values()), "document"),
            relation=Relation(
                torch.tensor(query_P),
                torch.tensor(document_P),
                torch.tensor(label_P),
                torch.tensor(list(place)),
                torch.tensor(known_query_K),
                torch.tensor(known_K),
            ),
        )

    def _drawn(self, row: Any, item: int, turn: int) -> Iterator[tuple[int, Text, float]]:
        """(key, text, label) of an item's documents: its positives, then hard negatives drawn without repetition."""
        positive = int(self.items.positive_I[item])
        chosen = range(len(row["pos"])) if positive == ALL else [positive]
        for index in chosen:
            instruction, text = row["pos"][index]
            yield row["pos_keys"][index], Text(text, instruction), row["labels"][index]
        allowed = [i for i, key in enumerate(row["neg_keys"]) if key not in self.dropped]
        if allowed and self.negatives:
            draw = np.random.default_rng([self.seed, turn, item])
            for index in draw.choice(allowed, min(self.negatives, len(allowed)), replace=False).tolist():
                instruction, text = row["neg"][index]
                yield row["neg_keys"][index], Text(text, instruction), row["labels"][len(row["pos"]) + index]


def batch_of(examples: Sequence[Example], tokenize: Tokenize, *, step: int = 0) -> Batch:
    """The batch of these examples, each with its first positive and all its negatives."""
    rows = [row_of(example) for example in examples]
    items = Items(np.arange(len(rows)), np.zeros(len(rows), dtype=int))
    negatives = max(len(row["neg"]) for row in rows)
    return Batches(rows, items, tokenize, negatives, frozenset(), 0, {})[
        BatchPlan(step, np.zeros(len(rows), dtype=int), np.arange(len(rows)))
    ]


def positives_of_repeated_queries(rows: Any) -> dict[int, list[int]]:
    """For every query text that stands in several rows, the keys of the positives of all of them."""
    keys = rows["query_key"][:]
    repeated = {key for key, count in zip(*np.unique(keys, return_counts=True), strict=True) if count > 1}
    if not repeated:
        return {}
    found: dict[int, list[int]] = defaultdict(list)
    for key, positives in zip(keys, rows["pos_keys"][:], strict=True):
        if key in repeated:
            found[key] += positives
    return dict(found)
