"""Plain values that flow through reasonir: examples for training, tasks and runs for evaluation.

Example -> Batch or PairBatch (`reasonir.data.batch`) -> Representation -> scores, and Task -> Run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

Side = Literal["query", "document"]
Run = dict[str, dict[str, float]]
"""A ranking, as information retrieval uses the word: query id -> document id -> score, higher is better."""
Qrels = Mapping[str, Mapping[str, int]]
"""Judgements: query id -> document id -> label, above 0 for relevant."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to encode, with the instruction that tells the model what it is for (often none)."""

    text: str
    instruction: str = ""


def as_text(query: str | Text) -> Text:
    """A question as models read it: without an instruction, unless it brings one."""
    return query if isinstance(query, Text) else Text(query)


@dataclass(frozen=True, slots=True)
class Document:
    """A text of the collection, judged for one query: `label` above 0 means relevant.

    `teachers` are other models' scores of this pair, by their name. `spans` are character ranges [start, end) of the
    text, its sentences as a rule, and `span_labels` say of each whether it helps to answer the query.
    """

    doc_id: str
    text: str
    instruction: str = ""
    label: float = 1.0
    teachers: Mapping[str, float] = field(default_factory=dict)
    spans: tuple[tuple[int, int], ...] = ()
    span_labels: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """One query with its judged documents: the form every source of training data takes.

    A mixture says in `source` which of its sources the example came from. `excluded` are content keys of documents that
    are never mined as its negatives, though nobody judged them: the one that it was written from, for instance.
    """

    query_id: str
    query: str
    documents: tuple[Document, ...]
    instruction: str = ""
    source: str = ""
    excluded: tuple[int, ...] = ()

    @property
    def positives(self) -> tuple[Document, ...]:
        """The documents judged relevant."""
        return tuple(document for document in self.documents if document.label > 0)

    @property
    def negatives(self) -> tuple[Document, ...]:
        """The documents judged not relevant."""
        return tuple(document for document in self.documents if document.label <= 0)


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and a document that a reranker reads together, with the document's judged spans where there are any."""

    query: Text
    document: Text
    spans: tuple[tuple[int, int], ...] = ()
    span_labels: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents that a task searches: ids and texts, aligned."""

    ids: Sequence[str]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class PlainTexts(Sequence[Text]):
    """Strings, in memory or on the disk, as texts without an instruction; made as they are asked for."""

    strings: Sequence[str]

    def __len__(self) -> int:
        return len(self.strings)

    @overload
    def __getitem__(self, place: int) -> Text: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Text]: ...
    def __getitem__(self, place: int | slice) -> Text | Sequence[Text]:
        found = self.strings[place]
        return Text(found) if isinstance(found, str) else [Text(string) for string in found]


@dataclass(frozen=True, slots=True)
class Task:
    """One retrieval task: rank `corpus` for each of `queries`, judged by `qrels`.

    `excluded` names, a query, the documents that are removed from its ranking before the cut (BRIGHT's protocol).
    `protocol` is stamped on every result: whatever a reader needs to compare it (source, split, revision).
    `judgements` are further ones, by name: the same ranking is judged by each of them as well. Where `candidates` names
    documents for a query, those and no others are ranked for it. Labels are gains in nDCG; everywhere else a label of
    `relevant_from` or more means relevant.
    """

    name: str
    queries: Mapping[str, Text]
    corpus: Corpus
    qrels: Qrels
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    protocol: Mapping[str, str] = field(default_factory=dict)
    judgements: Mapping[str, Qrels] = field(default_factory=dict)
    candidates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    relevant_from: int = 1
