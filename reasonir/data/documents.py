"""Training pairs from raw documents: a sentence asks for the passage it was taken from (inverse cloze task).

After Lee et al. 2019 (arXiv:1906.00300): the query is a sentence, the positive is its passage without it, so that equal
words alone don't give the answer away; a share of passages keeps its sentences, so that equal words still count. Long
documents are cut into passages. Whole documents go to train, dev or test, by a hash of their text, before any sentence
is drawn; dev and test search the passages of all documents.

A passage has one text, whatever is asked about it: without all the sentences that ask for it. So it is known to be
relevant to each of them, and no batch contrasts a sentence with its own passage in another shape.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from reasonir.data.base import Rejected, content_key
from reasonir.data.files.hub import local_data
from reasonir.data.files.raw_documents import RawText, read_texts, text_files
from reasonir.data.files.records import digests
from reasonir.data.passages import passages
from reasonir.data.splits.shares import PARTS, Shares, sizes
from reasonir.errors import InputError
from reasonir.types import Corpus, Document, Example, Task, Text
from reasonir.utils.ranges import NonNegative, Positive, Share, Validated
from reasonir.utils.sentences import Span, count_words, sentences


@dataclass(slots=True)
class DocumentPassage:
    """A passage, the sentences that may ask for it, how many of them at once (`room`), and those that do."""

    doc_id: str
    document: int
    text: str
    place: str
    usable: list[Span] = field(default_factory=list)
    room: int = 0
    asked: list[Span] = field(default_factory=list)
    kept: bool = False

    @property
    def left(self) -> str:
        """The text without the sentences that ask for it, unless it keeps them."""
        text = self.text
        for start, end in [] if self.kept else sorted(self.asked, reverse=True):
            text = text[:start] + text[end:].lstrip()
        return text.strip()

    def query(self, span: Span) -> str:
        """The sentence at `span`, on one line."""
        return " ".join(self.text[slice(*span)].split())


@dataclass(frozen=True, slots=True)
class DocumentCollection:
    """The passages of all documents, those of each part by number, and the documents that are left out."""

    passages: Sequence[DocumentPassage]
    parts: Mapping[str, Sequence[int]]
    rejected: Sequence[Rejected]


@dataclass(frozen=True, slots=True)
class Documents(Validated):
    """Pairs drawn from raw documents.

    Attributes:
        path: text file, table, or folder of text files.
        num_pairs: how many training pairs; None draws one from every training passage.
        splits: shares of the documents for train, dev and test.
        keep: share of training passages that keep the sentences that ask for them.
        min_words: of a sentence that may ask.
        passage_words: longer documents are cut into passages of about so many words; None leaves them whole.
        negatives: "none", or "random" training passages of other documents.
        num_negatives: how many a pair.
        seed: of the split and all that is drawn.
    """

    path: str
    num_pairs: Positive | None = None
    splits: Shares = (0.8, 0.1, 0.1)
    keep: Share = 0.1
    min_words: Positive = 5
    passage_words: Positive | None = 200
    negatives: Literal["none", "random"] = "none"
    num_negatives: Positive = 1
    seed: NonNegative = 0

    @property
    def name(self) -> str:
        """The file's or folder's name."""
        return f"documents-{Path(self.path).expanduser().absolute().name.split('.')[0]}"

    def identity(self) -> Mapping[str, Any]:
        """Options and the hashes of the files."""
        root = local_data(self.path)
        options = {key: value for key, value in asdict(self).items() if key != "path"}
        files = digests(text_files(root), root if root.is_dir() else root.parent)
        return {"source": "documents", **options, "splits": list(self.splits), "files": files}

    def examples(self) -> Iterator[Example | Rejected]:
        """One example a training pair."""
        collection = self._collection()
        yield from collection.rejected
        for part, share in zip(PARTS, self.splits, strict=True):
            if share:
                self._ask(collection, part)  # of dev and test, too, so that what is wrong is said now
        train = [collection.passages[number] for number in collection.parts["train"]]
        draw = np.random.default_rng([self.seed, 7])
        siblings = Counter(passage.document for passage in train)
        for passage in train:
            for number, span in enumerate(passage.asked):
                wrong = self._negatives(train, passage, siblings[passage.document], draw)
                documents = (Document(passage.doc_id, passage.left), *wrong)
                yield Example(f"{passage.doc_id}?{number}", passage.query(span), documents)

    def dev(self) -> Task | None:
        """The dev documents' sentences over all passages; None where dev's share is 0."""
        return self._task("dev") if self.splits[1] else None

    def tests(self) -> Iterator[Task]:
        """The test documents' sentences over all passages, if test's share isn't 0."""
        if self.splits[2]:
            yield self._task("test")

    def _task(self, part: str) -> Task:
        collection = self._collection()
        self._ask(collection, part)
        asked = [collection.passages[number] for number in collection.parts[part]]
        asked = [passage for passage in asked if passage.asked]
        found = collection.passages
        return Task(
            name="documents",
            queries={f"{passage.doc_id}?0": Text(passage.query(passage.asked[0])) for passage in asked},
            corpus=Corpus([passage.doc_id for passage in found], [passage.left for passage in found]),
            qrels={f"{passage.doc_id}?0": {passage.doc_id: 1} for passage in asked},
            protocol={
                "collection": self.name,
                "split": part,
                "shares": "/".join(map(str, self.splits)),
                "queries": "inverse cloze",
                "documents": str(len(found)),
            },
        )

    def _collection(self) -> DocumentCollection:
        """Read the documents, divide them, cut them into passages and find the sentences that may ask.

        Raises:
            InputError: there is no document, an id twice, or too few to be divided.
        """
        documents: dict[int, RawText] = {}
        ids: set[str] = set()
        rejected: list[Rejected] = []
        for raw in read_texts(local_data(self.path)):
            if raw.doc_id in ids:
                raise InputError(f"{raw.place}: id {raw.doc_id!r} is there twice: give every document its own")
            ids.add(raw.doc_id)
            same = documents.get(content_key(raw.text)) if raw.text else None
            if not raw.text:
                rejected.append(Rejected("empty_document", raw.place, raw.doc_id))
            elif same:
                rejected.append(Rejected("duplicate_document", raw.place, f"{raw.doc_id} equals {same.doc_id}"))
            else:
                documents[content_key(raw.text)] = raw
        if not documents:
            raise InputError(f"data.path={self.path} holds no text: give a file with documents")
        part_of = self._divided(list(documents.values()))
        found = [passage for number, raw in enumerate(documents.values()) for passage in self._passages(number, raw)]
        self._find_usable(found)
        rejected += [
            Rejected("passage_without_query", passage.place, passage.doc_id) for passage in found if not passage.room
        ]
        parts: dict[str, list[int]] = {part: [] for part in PARTS}
        for number, passage in enumerate(found):
            parts[part_of[passage.document]].append(number)
        return DocumentCollection(found, parts, rejected)

    def _divided(self, documents: Sequence[RawText]) -> list[str]:
        """Each document's part, whatever the order of the documents."""
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
            yield DocumentPassage(raw.doc_id if len(cut) == 1 else f"{raw.doc_id}/{number}", document, text, raw.place)

    def _find_usable(self, found: Sequence[DocumentPassage]) -> None:
        """Note the sentences that are long enough and stand nowhere else, and how many of them leave one behind."""
        spans = [sentences(passage.text, wrapped=True) for passage in found]
        queries = [[passage.query(span) for span in theirs] for passage, theirs in zip(found, spans, strict=True)]
        seen = Counter(content_key(query) for theirs in queries for query in theirs)
        for passage, theirs, asking in zip(found, spans, queries, strict=True):
            passage.usable = [
                span
                for span, query in zip(theirs, asking, strict=True)
                if seen[content_key(query)] == 1 and count_words(query) >= self.min_words
            ]
            passage.room = min(len(passage.usable), len(theirs) - 1)

    def _ask(self, collection: DocumentCollection, part: str) -> None:
        """Draw the sentences that ask: `num_pairs` of train, going round its passages; one a passage elsewhere."""
        draw = np.random.default_rng([self.seed, 6, PARTS.index(part)])
        able = [collection.passages[number] for number in collection.parts[part]]
        able = [passage for passage in able if passage.room]
        if not able:
            raise InputError(
                f"data.path={self.path}: no {part} document has two sentences, one of them of {self.min_words} words "
                "or more that stands in no other: give longer documents (in a text file a blank line ends one; "
                "without any each line is one) or lower data.min_words"
            )
        wanted = self.num_pairs if part == "train" and self.num_pairs is not None else len(able)
        reach = sum(passage.room for passage in able)
        if wanted > reach:
            raise InputError(
                f"data.num_pairs={wanted}: the {len(able)} training passages have {reach} sentences that can ask: "
                f"ask for {reach} or less, or lower data.min_words"
            )
        kept = draw.random(len(able)) < (self.keep if part == "train" else 0)
        for passage, keep in zip(able, kept.tolist(), strict=True):
            passage.kept = keep
            chosen = draw.permutation(len(passage.usable))[: passage.room]
            passage.asked = [passage.usable[number] for number in chosen.tolist()]
        order = [able[number] for number in draw.permutation(len(able)).tolist()]
        rounds = [(turn, passage) for passage in order for turn in range(len(passage.asked))]
        for turn, passage in sorted(rounds, key=lambda each: each[0])[wanted:]:
            del passage.asked[turn:]

    def _negatives(
        self, train: Sequence[DocumentPassage], own: DocumentPassage, siblings: int, draw: np.random.Generator
    ) -> Iterator[Document]:
        """Random training passages of other documents, each once; `siblings` are of the same document as `own`."""
        if self.negatives == "none":
            return
        others = len(train) - siblings
        chosen: set[int] = set()
        while len(chosen) < min(self.num_negatives, others):
            number = int(draw.integers(len(train)))
            if number not in chosen and train[number].document != own.document:
                chosen.add(number)
                yield Document(train[number].doc_id, train[number].left, label=0.0)
