"""Development and test sets held out of training data without leaks, by components of queries that share documents.

Two queries are in one component if a chain of shared relevant documents (or equal query texts) connects them. Whole
components go to one split, so no document that is relevant in dev or test is relevant in training; where such a
document is a hard negative in training, it is dropped there too (`relevant_keys`). The test queries don't depend on the
run's seed, so runs with different seeds are compared on the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reasonir.data.base import copy_key
from reasonir.data.prepared import example_of
from reasonir.errors import InputError
from reasonir.types import Corpus, Document, Task, Text

_LEAST = 2
"""Queries that training needs for in-batch negatives."""

_TEST_SEED = 0


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of train, dev and test."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


def hold_out(rows: Any, dev: float, *, test: float = 0, seed: int) -> Split:
    """Split the rows of a prepared set.

    Queries without a relevant document stay in train.

    Args:
        rows: the prepared set.
        dev: dev queries: below 1 a share of all queries, at least one, otherwise a number; 0 holds nothing out.
        test: test queries, like `dev`.
        seed: draws the components of dev.

    Raises:
        InputError: every component is larger than the requested size, or too few queries are left for training.
    """
    total = len(rows)
    wanted = {"test_size": _count(test, total), "dev_size": _count(dev, total)}
    if not any(wanted.values()):
        return Split(np.arange(total), np.arange(0), np.arange(0))
    if total - sum(wanted.values()) < _LEAST:
        raise InputError(
            f"{total} queries are too few to hold out {wanted['dev_size']} for development and {wanted['test_size']} "
            "for testing: give more data, or set loader.dev_size=0 or loader.test_size=0 (and then another eval=)"
        )
    positives = rows["pos_keys"][:]
    groups = [group for group in components(rows["query_key"][:], positives) if all(positives[row] for row in group)]
    drawn = {}
    for key, own_seed in (("test_size", _TEST_SEED), ("dev_size", seed)):
        (drawn[key],) = draw_groups(groups, [wanted[key]], seed=own_seed)
        if wanted[key] and not drawn[key]:
            raise InputError(
                f"loader.{key}={test if key == 'test_size' else dev}: no {wanted[key]} of {total} queries can be held "
                "out without sharing relevant documents with the rest (the largest group that shares documents has "
                f"{max(map(len, groups), default=0)}): raise it, or set loader.{key}=0"
            )
        taken = set(drawn[key])
        groups = [group for group in groups if not taken.intersection(group)]
    held = {key: np.sort(np.array(drawn[key], dtype=np.int64)) for key in drawn}
    train = np.setdiff1d(np.arange(total), np.concatenate(list(held.values())))
    return Split(train, held["dev_size"], held["test_size"])


def _count(size: float, total: int) -> int:
    """Return the number of queries that a size (share or number) means."""
    return max(1, round(size * total)) if 0 < size < 1 else int(size)


def relevant_keys(task: Task) -> frozenset[int]:
    """Return the keys of all documents that are relevant to a query of the task."""
    least = task.relevant_from
    relevant = {doc_id for labels in task.qrels.values() for doc_id, label in labels.items() if label >= least}
    texts = zip(task.corpus.ids, task.corpus.texts, strict=True)
    return frozenset(copy_key(text) for doc_id, text in texts if doc_id in relevant)


def held_out_task(
    rows: Any,
    held: np.ndarray,
    *,
    name: str,
    documents: int | None = None,
    seed: int = 0,
    collection: Iterable[Document] = (),
) -> Task:
    """Return the retrieval task of held-out rows over documents of the whole set; copies are one document.

    Documents that a query excludes aren't ranked for it.

    Args:
        rows: the prepared set.
        held: numbers of the held-out rows.
        name: of the task.
        documents: approximate corpus size, with documents of other rows drawn by `seed`; None searches all.
        seed: see `documents`.
        collection: documents that are searched besides those of the rows.
    """
    texts: dict[str, str] = {}
    queries, qrels, left_out = {}, {}, {}
    for row in held.tolist():
        example = example_of(rows[row])
        queries[example.query_id] = Text(example.query, example.instruction)
        qrels[example.query_id] = {str(key): 1 for key in rows[row]["pos_keys"]}
        left_out[example.query_id] = frozenset(map(str, example.excluded)) - qrels[example.query_id].keys()
        texts |= _texts(rows[row])
    for row in np.random.default_rng([seed, 2]).permutation(len(rows)).tolist():
        if documents is not None and len(texts) >= documents:
            break
        texts |= _texts(rows[row])
    for document in collection:
        texts.setdefault(str(copy_key(document.text)), document.text)
    protocol = {"collection": "held-out", "documents": str(len(texts)), "queries": str(len(queries))}
    excluded = {query_id: found for query_id, keys in left_out.items() if (found := keys & texts.keys())}
    return Task(name, queries, Corpus(list(texts), list(texts.values())), qrels, excluded, protocol)


def _texts(row: Any) -> dict[str, str]:
    keys, pairs = row["pos_keys"] + row["neg_keys"], row["pos"] + row["neg"]
    return {str(key): text for key, (_, text) in zip(keys, pairs, strict=True)}


def draw_groups(groups: Sequence[Sequence[int]], wanted: Sequence[int], *, seed: int) -> list[list[int]]:
    """Draw disjoint sets of whole groups of rows by `seed`, each with up to `wanted` rows."""
    drawn: list[list[int]] = [[] for _ in wanted]
    for number in np.random.default_rng([seed, 1]).permutation(len(groups)):
        for rows, most in zip(drawn, wanted, strict=True):
            if len(rows) + len(groups[number]) <= most:
                rows.extend(groups[number])
                break
    return drawn


def components(query_keys: Sequence[int], pos_keys: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the rows of each component, by union-find over rows and their keys."""
    parent = list(range(len(query_keys)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    owner: dict[tuple[str, int], int] = {}
    for row, (query, positives) in enumerate(zip(query_keys, pos_keys, strict=True)):
        for key in (("query", query), *(("document", key) for key in positives)):
            parent[root(row)] = root(owner.setdefault(key, row))
    members: dict[int, list[int]] = {}
    for row in range(len(parent)):
        members.setdefault(root(row), []).append(row)
    return list(members.values())
