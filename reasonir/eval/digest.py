"""Digests of what tasks are evaluated on: documents, queries, judgements, excluded documents and candidates.

Metrics are compared, reused and averaged where these agree, whatever files and tasks are called. A digest is written as
"<number of items>-<hash>" and doesn't depend on the order of the items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

from reasonir.config import flatten
from reasonir.errors import InputError, raise_errors
from reasonir.types import Corpus, Qrels, Task
from reasonir.utils.files import add_strings

DOCUMENTS, QUERIES, JUDGEMENTS, EXCLUDED, CANDIDATES = "documents", "queries", "judgements", "excluded", "candidates"
_NO_CONDITIONS = ("model", "untrained", "trec", "truncation", "device", "seed", "digests")
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


def count_of(digest: str) -> int:
    """Return the number of items of a digest."""
    return int(digest.partition("-")[0])


def different_parts(first: Digests, second: Digests) -> list[str]:
    """Return the parts that both have and whose digests differ."""
    return [part for part in first if part in second and first[part] != second[part]]


def refuse_other_content(protocols: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to compare systems that were evaluated on different content under the same task name.

    Queries may differ in wording and instruction, but not in their judgements.

    Args:
        protocols: protocol of results by system.

    Raises:
        InputError: the content of a task differs, or an evaluation has no digests; names task, part and systems.
    """
    if missing := [name for name, protocol in protocols.items() if "digests" not in protocol]:
        raise InputError(f"{missing[0]} was evaluated without digests of its content: evaluate it again")
    digests = {name: protocol["digests"] for name, protocol in protocols.items()}
    faults = [
        f"{task}: the {part} of {first} ({stamped[part]}) and {second} ({digests[second][task][part]}) differ: "
        "evaluate both on the same data"
        for first, second in combinations(digests, 2)
        for task, stamped in digests[first].items()
        for part in different_parts(stamped, digests[second].get(task, {}))
        if part != QUERIES
    ]
    raise_errors(faults, "difference between the evaluations")


def different_conditions(protocols: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return conditions of evaluation, besides model and content, that differ between systems, by key and system.

    Args:
        protocols: protocol of results by system; tasks that aren't common to all are ignored.
    """
    shared = set.intersection(*(set(protocol["digests"]) for protocol in protocols.values()))
    flat = {name: _conditions(protocol, shared) for name, protocol in protocols.items()}
    values = {key: {name: flat[name].get(key) for name in flat} for key in dict.fromkeys(chain(*flat.values()))}
    return {key: by_system for key, by_system in values.items() if len(set(map(str, by_system.values()))) > 1}


def _conditions(protocol: Mapping[str, Any], tasks: Container[str]) -> dict[str, Any]:
    stated = {key: value for key, value in protocol.items() if key not in _NO_CONDITIONS}
    stamps = {task: stamp for task, stamp in protocol.get("tasks", {}).items() if task in tasks}
    wordings = {task: {QUERIES: digests[QUERIES]} for task, digests in protocol["digests"].items() if task in tasks}
    return flatten({**stated, "tasks": stamps, "digests": wordings})


def digest_of(items: Iterable[Sequence[str]]) -> str:
    """Return the digest of items made of strings, in any order."""
    total = count = 0
    for count, item in enumerate(items, 1):  # noqa: B007
        digest = hashlib.blake2b(digest_size=16)
        add_strings(digest, item)
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
