"""Training pairs from raw documents by the inverse cloze task.

After Lee et al. 2019 (arXiv:1906.00300): the query is a sentence, the positive is its passage without it, so that exact
matches don't give the answer away; a share of passages keeps its sentences, so that exact matches still count. Long
documents are cut into passages. Whole documents go to train, dev or test, by a hash of their text, before any sentence
is drawn; dev and test search the passages of all documents.

A passage has one text, without all the sentences that are its queries. So it is known to be relevant to each of them,
and in no batch is a sentence's own passage, in another version, one of its negatives.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reasonir.data.base import Rejected, content_key, copy_key
from reasonir.data.files.hub import local_data
from reasonir.data.files.raw_documents import RawText, read_texts, text_files
from reasonir.data.files.records import digests
from reasonir.data.passages import passages
from reasonir.data.splits.shares import PARTS, Shares, sizes
from reasonir.errors import InputError
from reasonir.types import Corpus, Document, Example, Task, Text
from reasonir.utils.ranges import Positive, Seed, Share, Validated
from reasonir.utils.sentences import Span, count_words, sentences


@dataclass(slots=True)
class DocumentPassage:
    """Passage, the sentences that can be its queries (`usable`), how many at once (`room`), and those drawn."""

    doc_id: str
    document: int
    text: str
    location: str
    usable: list[Span] = field(default_factory=list)
    room: int = 0
    queries: list[Span] = field(default_factory=list)
    kept: bool = False

    @property
    def remaining(self) -> str:
        """Text without the sentences that are its queries, unless it keeps them."""
        text = self.text
        for start, end in [] if self.kept else sorted(self.queries, reverse=True):
            text = text[:start] + text[end:].lstrip()
        return text.strip()

    def query(self, span: Span) -> str:
        """Return the sentence at `span`, on one line."""
        return " ".join(self.text[slice(*span)].split())


@dataclass(frozen=True, slots=True)
class DocumentCollection:
    """Passages of all documents, the passage numbers of each part, and the rejected documents and passages."""

    passages: Sequence[DocumentPassage]
    parts: Mapping[str, Sequence[int]]
    rejected: Sequence[Rejected]


@dataclass(frozen=True, slots=True)
class Documents(Validated):
    """Pairs drawn from raw documents.

    Attributes:
        path: text file, table, or folder of text files.
        num_pairs: number of training pairs; None draws one from every training passage.
        splits: shares of the documents for train, dev and test.
        keep: share of training passages that keep the sentences that are their queries.
        min_words: shortest sentence that can be a query, in words.
        passage_words: longer documents are cut into passages of about this many words; None keeps them whole.
        negatives: "none", or "random" training passages of other documents.
        num_negatives: random negatives per pair.
        seed: of the split and all draws.
    """

    path: str
    num_pairs: Positive | None = None
    splits: Shares = (0.8, 0.1, 0.1)
    keep: Share = 0.1
    min_words: Positive = 5
    passage_words: Positive | None = 200
    negatives: Literal["none", "random"] = "none"
    num_negatives: Positive = 1
    seed: Seed = 0

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return f"documents-{Path(self.path).expanduser().absolute().name.split('.')[0]}"

    def identity(self) -> Mapping[str, Any]:
        """Return the options and the hashes of the files."""
        root = local_data(self.path)
        options = {key: value for key, value in asdict(self).items() if key != "path"}
        files = digests(text_files(root), root if root.is_dir() else root.parent)
        return {"source": "documents", **options, "splits": list(self.splits), "files": files}

    def examples(self) -> Iterator[Example | Rejected]:
        """Yield one example per training pair."""
        collection = self._collection()
        yield from collection.rejected
        for part, share in zip(PARTS, self.splits, strict=True):
            if share:
                self._draw_queries(collection, part)  # dev and test, too, so that errors show up now
        train = [collection.passages[number] for number in collection.parts["train"]]
        draw = np.random.default_rng([self.seed, 7])
        siblings = Counter(passage.document for passage in train)
        for passage in train:
            for number, span in enumerate(passage.queries):
                wrong = self._negatives(train, passage, siblings[passage.document], draw)
                documents = (Document(passage.doc_id, passage.remaining), *wrong)
                yield Example(f"{passage.doc_id}?{number}", passage.query(span), documents)

    def dev(self) -> Task | None:
        """Return the task of the dev documents' sentences over all passages; None if dev's share is 0."""
        return self._task("dev") if self.splits[1] else None

    def tests(self) -> Iterator[Task]:
        """Yield the task of the test documents' sentences over all passages, unless test's share is 0."""
        if self.splits[2]:
            yield self._task("test")

    def _task(self, part: str) -> Task:
        collection = self._collection()
        self._draw_queries(collection, part)
        relevant = [collection.passages[number] for number in collection.parts[part]]
        relevant = [passage for passage in relevant if passage.queries]
        corpus = collection.passages
        return Task(
            name="documents",
            queries={f"{passage.doc_id}?0": Text(passage.query(passage.queries[0])) for passage in relevant},
            corpus=Corpus([passage.doc_id for passage in corpus], [passage.remaining for passage in corpus]),
            qrels={f"{passage.doc_id}?0": {passage.doc_id: 1} for passage in relevant},
            protocol={
                "collection": self.name,
                "split": part,
                "shares": "/".join(map(str, self.splits)),
                "queries": "inverse cloze",
                "documents": str(len(corpus)),
            },
        )

    def _collection(self) -> DocumentCollection:
        """Read and split the documents, cut them into passages and find the sentences that can be queries.

        Raises:
            InputError: there is no document, a duplicate id, or too few documents to split.
        """
        documents: dict[int, RawText] = {}
        text_of: dict[str, str] = {}
        rejected: list[Rejected] = []
        for raw in read_texts(local_data(self.path)):
            if text_of.setdefault(raw.doc_id, raw.text) != raw.text:
                raise InputError(f"{raw.location}: id {raw.doc_id!r} has a second text: ids must be unique")
            same = documents.get(copy_key(raw.text)) if raw.text else None
            if not raw.text:
                rejected.append(Rejected("empty_document", raw.location, raw.doc_id))
            elif same:
                rejected.append(Rejected("duplicate_document", raw.location, f"{raw.doc_id} equals {same.doc_id}"))
            else:
                documents[copy_key(raw.text)] = raw
        if not documents:
            raise InputError(f"data.path={self.path} has no text: give a file with documents")
        part_of = self._split(list(documents.values()))
        cut = [passage for number, raw in enumerate(documents.values()) for passage in self._passages(number, raw)]
        self._find_usable(cut)
        rejected += [
            Rejected("passage_without_query", passage.location, passage.doc_id) for passage in cut if not passage.room
        ]
        parts: dict[str, list[int]] = {part: [] for part in PARTS}
        for number, passage in enumerate(cut):
            parts[part_of[passage.document]].append(number)
        return DocumentCollection(cut, parts, rejected)

    def _split(self, documents: Sequence[RawText]) -> list[str]:
        """Return each document's part, independent of the order of the documents."""
        dev, test = sizes(len(documents), self.splits, "documents")
        key = str(self.seed).encode()
        hashes = [hashlib.blake2b(raw.text.encode(), key=key, digest_size=8).digest() for raw in documents]
        order = sorted(range(len(documents)), key=hashes.__getitem__)
        part_of = ["train"] * len(documents)
        for rank, number in enumerate(order[: dev + test]):
            part_of[number] = "dev" if rank < dev else "test"
        return part_of

    def _passages(self, document: int, raw: RawText) -> Iterator[DocumentPassage]:
        cut = [raw.text] if self.passage_words is None else list(passages(raw.text, self.passage_words))
        for number, text in enumerate(cut):
            yield DocumentPassage(
                raw.doc_id if len(cut) == 1 else f"{raw.doc_id}/{number}", document, text, raw.location
            )

    def _find_usable(self, cut: Sequence[DocumentPassage]) -> None:
        """Set `usable` to the sentences that are long enough and unique, and `room` so that one sentence remains."""
        spans_of = [sentences(passage.text, wrapped=True) for passage in cut]
        queries_of = [[passage.query(span) for span in spans] for passage, spans in zip(cut, spans_of, strict=True)]
        seen = Counter(content_key(query) for queries in queries_of for query in queries)
        for passage, spans, queries in zip(cut, spans_of, queries_of, strict=True):
            passage.usable = [
                span
                for span, query in zip(spans, queries, strict=True)
                if seen[content_key(query)] == 1 and count_words(query) >= self.min_words
            ]
            passage.room = min(len(passage.usable), len(spans) - 1)

    def _draw_queries(self, collection: DocumentCollection, part: str) -> None:
        """Draw the queries: `num_pairs` for train, round-robin over its passages; one per passage for dev and test."""
        draw = np.random.default_rng([self.seed, 6, PARTS.index(part)])
        able = [collection.passages[number] for number in collection.parts[part]]
        able = [passage for passage in able if passage.room]
        if not able:
            raise InputError(
                f"data.path={self.path}: no {part} document has two sentences, one of them unique and of "
                f"{self.min_words} words or more: give longer documents (in a text file a blank line ends one; without "
                "blank lines each line is one) or lower data.min_words"
            )
        wanted = self.num_pairs if part == "train" and self.num_pairs is not None else len(able)
        most = sum(passage.room for passage in able)
        if wanted > most:
            raise InputError(
                f"data.num_pairs={wanted}: the {len(able)} training passages have {most} sentences that can be "
                f"queries: give {most} or less, or lower data.min_words"
            )
        kept = draw.random(len(able)) < (self.keep if part == "train" else 0)
        for passage, keep in zip(able, kept.tolist(), strict=True):
            passage.kept = keep
            chosen = draw.permutation(len(passage.usable))[: passage.room]
            passage.queries = [passage.usable[number] for number in chosen.tolist()]
        order = [able[number] for number in draw.permutation(len(able)).tolist()]
        rounds = [(turn, passage) for passage in order for turn in range(len(passage.queries))]
        for turn, passage in sorted(rounds, key=lambda drawn: drawn[0])[wanted:]:
            del passage.queries[turn:]

    def _negatives(
        self, train: Sequence[DocumentPassage], own: DocumentPassage, siblings: int, draw: np.random.Generator
    ) -> Iterator[Document]:
        """Yield distinct random passages of other training documents; `siblings` counts those of `own`'s document."""
        if self.negatives == "none":
            return
        others = len(train) - siblings
        chosen: set[int] = set()
        while len(chosen) < min(self.num_negatives, others):
            number = int(draw.integers(len(train)))
            if number not in chosen and train[number].document != own.document:
                chosen.add(number)
                yield Document(train[number].doc_id, train[number].remaining, label=0.0)
