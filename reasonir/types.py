"""Plain values that flow through reasonir: examples for training, tasks and runs for evaluation.

Example -> Batch or PairBatch (`reasonir.data.batch`) -> Representation -> scores, and Task -> Run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

Side = Literal["query", "document"]
Run = dict[str, dict[str, float]]
"""Rankings as in TREC: query id -> document id -> score, higher is better."""
Qrels = Mapping[str, Mapping[str, int]]
"""Relevance judgements: query id -> document id -> label, above 0 for relevant."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text to encode, with the instruction for the model; empty for none."""

    text: str
    instruction: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """Document labelled for one query: `label` above 0 means relevant.

    `teachers` are other models' scores of this pair, by teacher name. `spans` are character ranges [start, end) of the
    text, usually its sentences; `span_labels` are 1 for spans that help to answer the query, otherwise 0.
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
    """One query with its labelled documents, as every source of training data yields it.

    `source` names the source within a mixture. `excluded` holds keys of unlabelled documents that are never
    negatives of the query, mined or in a batch, such as the document it was written from. `masked` are those that a
    guide adds, for training alone; None without a guide.
    """

    query_id: str
    query: str
    documents: tuple[Document, ...]
    instruction: str = ""
    source: str = ""
    excluded: tuple[int, ...] = ()
    masked: tuple[int, ...] | None = None

    @property
    def positives(self) -> tuple[Document, ...]:
        """Relevant documents."""
        return tuple(document for document in self.documents if document.label > 0)

    @property
    def negatives(self) -> tuple[Document, ...]:
        """Documents that are not relevant."""
        return tuple(document for document in self.documents if document.label <= 0)


@dataclass(frozen=True, slots=True)
class Pair:
    """Query and document that a reranker reads together, with the document's labelled spans, if any."""

    query: Text
    document: Text
    spans: tuple[tuple[int, int], ...] = ()
    span_labels: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents that a task searches: ids and texts, aligned."""

    ids: Sequence[str]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class PlainTexts(Sequence[Text]):
    """Strings, in memory or on disk, as texts without an instruction, created on access."""

    strings: Sequence[str]

    def __len__(self) -> int:
        return len(self.strings)

    @overload
    def __getitem__(self, index: int) -> Text: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Text]: ...
    def __getitem__(self, index: int | slice) -> Text | Sequence[Text]:
        strings = self.strings[index]
        return Text(strings) if isinstance(strings, str) else [Text(string) for string in strings]


@dataclass(frozen=True, slots=True)
class Aspect:
    """Part of what a query asks for: its weight among the query's aspects, and the documents that cover it."""

    weight: float
    doc_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Task:
    """Retrieval task: rank `corpus` for each of `queries`, evaluated with `qrels`.

    `excluded` holds the documents per query that are removed from its ranking before the cutoff (BRIGHT's protocol).
    `protocol` is stored with every result: whatever a reader needs to compare it (source, split, revision).
    `judgements` are further qrels by name; the same ranking is evaluated with each. Where `candidates` lists documents
    for a query, only those are ranked for it. Labels are gains in nDCG; all other metrics count a label of
    `relevant_from` or more as relevant. `aspects` of queries add the metrics of `eval.stats.aspect_metrics`. Judgements
    that are `verbatim` are a publisher's as they stand: a query without a relevant document counts 0, and a relevant
    document may be missing or excluded.
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
    aspects: Mapping[str, Sequence[Aspect]] = field(default_factory=dict)
    verbatim: bool = False
