"""Digests of what tasks are evaluated on: documents, queries, judgements, excluded documents and candidates.

Metrics are compared, reused and averaged where these agree, whatever files and tasks are called. A digest is written as
"<number of items>-<hash>" and doesn't depend on the order of the items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from reasonir.types import Corpus, Qrels, Task

DOCUMENTS, QUERIES, JUDGEMENTS, EXCLUDED, CANDIDATES = "documents", "queries", "judgements", "excluded", "candidates"
Digests = Mapping[str, str]
"""Digest by part; documents and exclusions are absent if the documents are unknown (run files)."""


def digests_of(tasks: Sequence[Task]) -> dict[str, dict[str, str]]:
    """Return the digests of each task, and of its further judgements, by the name of their values in results."""
    corpora: dict[int, str] = {}
    digests = {}
    for task in tasks:
        if len(task.corpus) and id(task.corpus) not in corpora:
            corpora[id(task.corpus)] = _of_corpus(task.corpus)
        shared = {
            **({DOCUMENTS: corpora[id(task.corpus)], EXCLUDED: _of_pairs(task.excluded)} if len(task.corpus) else {}),
            QUERIES: digest_of((key, text.instruction, text.text) for key, text in task.queries.items()),
            CANDIDATES: _of_pairs(task.candidates),
        }
        digests[task.name] = {**shared, JUDGEMENTS: _of_qrels(task.qrels, task.relevant_from)}
        for label, qrels in task.judgements.items():
            digests[f"{task.name}_{label}"] = {**shared, JUDGEMENTS: _of_qrels(qrels, 1)}
    return digests


def whole(digests: Digests) -> str:
    """Return one digest of all parts."""
    return digest_of(digests.items()).partition("-")[2]


def different_parts(first: Digests, second: Digests) -> list[str]:
    """Return the parts that both have and whose digests differ."""
    return [part for part in first if part in second and first[part] != second[part]]


def digest_of(items: Iterable[Sequence[str]]) -> str:
    """Return the digest of items made of strings, in any order."""
    total = count = 0
    for count, item in enumerate(items, 1):  # noqa: B007
        digest = hashlib.blake2b(digest_size=16)
        for part in item:
            raw = part.encode()
            digest.update(len(raw).to_bytes(8))
            digest.update(raw)
        total += int.from_bytes(digest.digest())
    return f"{count}-{total % 2**128:032x}"[: len(str(count)) + 17]


def _of_corpus(corpus: Corpus) -> str:
    return digest_of(zip(corpus.ids, corpus.texts, strict=True))


def _of_qrels(qrels: Qrels, relevant_from: int) -> str:
    return digest_of(
        (query, doc, str(label), str(relevant_from)) for query, labels in qrels.items() for doc, label in labels.items()
    )


def _of_pairs(documents_of: Mapping[str, Iterable[str]]) -> str:
    return digest_of((query, doc) for query, docs in documents_of.items() for doc in docs)
