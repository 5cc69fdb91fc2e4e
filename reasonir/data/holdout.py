"""A development set held out of training data without leaks: whole components of queries that share documents.

Two queries belong to one component when a chain of shared relevant documents (or equal query texts) joins them. Whole
components go to one side, so no document that is relevant in the development set is relevant in training; where such a
document is somebody's hard negative in training it is dropped there too (`relevant_keys`), whoever put it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reasonir.data.base import content_key
from reasonir.data.prepared import example_of
from reasonir.errors import InputError
from reasonir.types import Corpus, Task, Text


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of both sides."""

    train: np.ndarray
    dev: np.ndarray


def hold_out(rows: Any, share: float, *, seed: int) -> Split:
    """Split the rows of a prepared set.

    Args:
        rows: the prepared set.
        share: below 1 a share of the queries, otherwise their number; 0 holds nothing out.
        seed: draws the components.

    Raises:
        InputError: every component is larger than what was asked for.
    """
    total = len(rows)
    wanted = round(share * total) if share < 1 else int(share)
    if not wanted:
        return Split(np.arange(total), np.arange(0))
    keys = rows["pos_keys"][:]
    groups = components(rows["query_key"][:], keys)
    (dev,) = draw_groups(groups, [wanted], seed=seed)
    if not dev or len(dev) == total:
        largest = max(len(group) for group in groups)
        raise InputError(
            f"loader.holdout={share}: no {wanted} of {total} queries can be held out that share no relevant document "
            f"with the rest (the largest group of queries that do has {largest}): ask for more, name the source's "
            "own development split (data.dev_split), or set loader.holdout=0"
        )
    dev_rows = np.sort(np.array(dev))
    train_rows = np.setdiff1d(np.arange(total), dev_rows)
    return Split(train_rows, dev_rows)


def relevant_keys(task: Task) -> frozenset[int]:
    """The content keys of all documents that are relevant to a query of the task."""
    least = task.relevant_from
    relevant = {doc_id for judged in task.qrels.values() for doc_id, label in judged.items() if label >= least}
    texts = zip(task.corpus.ids, task.corpus.texts, strict=True)
    return frozenset(content_key(text) for doc_id, text in texts if doc_id in relevant)


def dev_task(rows: Any, dev: np.ndarray, *, documents: int, seed: int) -> Task:
    """The retrieval task of the held-out rows: their documents among up to `documents` of the whole set.

    Equal texts are one document. Other rows' documents fill the corpus up, drawn by `seed`.
    """
    texts: dict[str, str] = {}
    queries, qrels = {}, {}
    for row in dev.tolist():
        example = example_of(rows[row])
        queries[example.query_id] = Text(example.query, example.instruction)
        qrels[example.query_id] = {str(key): 1 for key in rows[row]["pos_keys"]}
        texts |= _texts(rows[row])
    for row in np.random.default_rng([seed, 2]).permutation(len(rows)).tolist():
        if len(texts) >= documents:
            break
        texts |= _texts(rows[row])
    protocol = {"collection": "held-out", "documents": str(len(texts)), "queries": str(len(queries))}
    return Task("dev", queries, Corpus(list(texts), list(texts.values())), qrels, protocol=protocol)


def _texts(row: Any) -> dict[str, str]:
    keys, pairs = row["pos_keys"] + row["neg_keys"], row["pos"] + row["neg"]
    return {str(key): text for key, (_, text) in zip(keys, pairs, strict=True)}


def draw_groups(groups: Sequence[Sequence[int]], wanted: Sequence[int], *, seed: int) -> list[list[int]]:
    """Whole groups of rows for each of several sets, drawn by `seed`: up to `wanted` rows, none in two sets."""
    drawn: list[list[int]] = [[] for _ in wanted]
    for number in np.random.default_rng([seed, 1]).permutation(len(groups)):
        for rows, most in zip(drawn, wanted, strict=True):
            if len(rows) + len(groups[number]) <= most:
                rows.extend(groups[number])
                break
    return drawn


def components(query_keys: Sequence[int], pos_keys: Sequence[Sequence[int]]) -> list[list[int]]:
    """The rows of each component, by union-find over rows and the keys they touch."""
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
