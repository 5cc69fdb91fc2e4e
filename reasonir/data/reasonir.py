"""ReasonIR's training data (Shao et al. 2025, arXiv:2504.20595), its positives resolved against BRIGHT's documents.

`hq` rows name their positive by a BRIGHT id and contain a synthetic hard negative; `vl` rows contain both texts. An id
is looked up only where the schema has one, so a label like "5" stays a text. The first pass over the rows collects the
ids of positives and the repeated queries, the second streams examples, so memory holds the positives and the repeated
queries, not the data. Every dropped row or document is reported by kind, with examples.

reasonir-data is CC BY-NC 4.0; BRIGHT's card calls its own queries unsuitable for training: `decontaminate` sets how
strictly the examples avoid them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le, MinLen

from reasonir.data.base import Rejected, content_key, copy_key
from reasonir.data.files import bright
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import Record, digests, find, read, value_of
from reasonir.data.splits.decontamination import Decontamination, Level
from reasonir.errors import InputError
from reasonir.types import Document, Example, Task
from reasonir.utils.progress import progress
from reasonir.utils.ranges import NonNegative, ShareOrCount, Validated
from reasonir.utils.sentences import count_words
from reasonir.utils.values import is_encodable, shorten

log = logging.getLogger(__name__)
Subset = Literal["hq", "vl"]
SUBSETS: tuple[Subset, ...] = ("hq", "vl")


_ROWS: Mapping[str, int] = {"hq": 100_521, "vl": 244_970}


@dataclass(frozen=True, slots=True)
class ReasonIR(Validated):
    """Examples of ReasonIR's public data.

    Attributes:
        path: folder or hub id; hq and vl are folders or files in it.
        subsets: hq, vl or both.
        revision: commit of the hub id.
        documents: folder or hub id of BRIGHT, whose documents hq names.
        documents_revision: commit of its hub id.
        max_unresolved: positives that may name no document before the run fails: a number, or below 1 a share.
        label_words: rows of vl whose texts have at most this many words are labels, not passages, and dropped; 0 keeps
            them.
        min_words: positives with fewer words are dropped.
        decontaminate: none; gold drops positives that are relevant in BRIGHT (and copies of them), excluded also those
            that any query excludes, queries also near-duplicates of its queries.
        overlap: share of word 8-grams from which a query counts as a near-duplicate.
    """

    path: str
    subsets: Annotated[Sequence[Subset], MinLen(1)] = ("hq",)
    revision: str | None = None
    documents: str = bright.HUB_ID
    documents_revision: str | None = bright.REVISION
    max_unresolved: ShareOrCount = 0
    label_words: NonNegative = 5
    min_words: NonNegative = 0
    decontaminate: Level = "none"
    overlap: Annotated[float, Gt(0), Le(1)] = 0.3

    @property
    def name(self) -> str:
        """Name of the subsets."""
        return f"reasonir-{'-'.join(self.subsets)}"

    @property
    def published_rows(self) -> int:
        """Number of rows of the subsets, by the data's card."""
        return sum(_ROWS[subset] for subset in self.subsets)

    def identity(self) -> Mapping[str, Any]:
        """Options and the hashes of all files."""
        folder, documents = self._folders()
        read_files = [file for subset in self.subsets for file in self._files(folder, subset)]
        document_files = [file for split in bright.SPLITS for file in bright.files_of(documents, "documents", split)]
        example_files = [file for split in bright.SPLITS for file in bright.files_of(documents, "examples", split)]
        needs_documents = "hq" in self.subsets or self.decontaminate != "none"
        return {
            "source": "reasonir",
            "subsets": list(self.subsets),
            "revisions": [self.revision, self.documents_revision],
            "rules": [self.max_unresolved, self.label_words, self.min_words, self.overlap],
            "decontaminate": self.decontaminate,
            "files": digests(read_files, folder),
            "documents": digests(document_files, documents) if needs_documents else {},
            "examples": digests(example_files, documents) if self.decontaminate != "none" else {},
            "licence": "CC BY-NC 4.0 (reasonir-data), CC BY 4.0 (BRIGHT)",
        }

    def dev(self) -> Task | None:
        """Return None: part of the data is held out."""
        return None

    def examples(self) -> Iterator[Example | Rejected]:
        """Yield an example per distinct query, and what is dropped in between."""
        folder, documents = self._folders()
        named, repeated = self._first_pass(folder)
        bench = Decontamination.read(documents, self.decontaminate, self.overlap)
        texts = _resolve(documents, bench.gold | named.keys()) if named or bench.gold else {}
        bench = replace(bench, gold_keys=frozenset(copy_key(texts[i][1]) for i in bench.gold if i in texts))
        self._check_resolved(named, texts)
        waiting: dict[int, list[Example]] = {}
        seen: set[tuple[int, ...]] = set()
        for subset in self.subsets:
            reader = _Reader(self, subset, texts, bench)
            for record in progress(self._rows(folder, subset), f"ReasonIR {subset}"):
                for item in reader.row(record):
                    if isinstance(item, Rejected):
                        yield item
                        continue
                    key = content_key(item.query, item.instruction)
                    whole = (key, *(content_key(document.text) for document in item.documents))
                    if whole in seen:
                        yield Rejected("duplicate_row", record.location, item.query)
                    elif key in repeated:
                        waiting.setdefault(key, []).append(item)
                    else:
                        yield item
                    seen.add(whole)
        for group in waiting.values():
            yield from _merged(group)

    def _folders(self) -> tuple[Path, Path]:
        folder = local_data(self.path, revision=self.revision)
        if not folder.is_dir():
            raise InputError(f"data.path={self.path} is a file: give the folder with {' and '.join(SUBSETS)}")
        if self.subsets == ("vl",) and self.decontaminate == "none":
            return folder, folder
        return folder, bright.folder_of(self.documents, revision=self.documents_revision, key="data.documents")

    def _files(self, folder: Path, subset: str) -> list[Path]:
        files = find(folder, [f"{subset}/train*", f"{subset}/*.parquet", f"{subset}/*.json*", f"{subset}.*"])
        if not files:
            raise InputError(f"data.path={self.path}: {folder} has no {subset}: expected {subset}/*.parquet or .jsonl")
        return files

    def _rows(self, folder: Path, subset: str) -> Iterator[Record]:
        for file in self._files(folder, subset):
            yield from read(file)

    def _first_pass(self, folder: Path) -> tuple[dict[str, list[str]], set[int]]:
        """Return the ids of positives with their locations, and the keys of queries that occur in several rows."""
        named: dict[str, list[str]] = {}
        counts: Counter[int] = Counter()
        for subset in self.subsets:
            for record in progress(self._rows(folder, subset), f"ReasonIR {subset}: first pass"):
                query = _pair(value_of(record, "query"))
                counts[content_key(query[1], query[0]) if query else 0] += 1
                for pair in _pairs(value_of(record, "pos")) if subset == "hq" else ():
                    if pair:
                        named.setdefault(pair[1], []).append(record.location)
        return named, {key for key, count in counts.items() if count > 1}

    def _check_resolved(self, named: Mapping[str, Sequence[str]], texts: Mapping[str, tuple[str, str]]) -> None:
        count = sum(len(locations) for locations in named.values())
        missing = [f"{location}: {doc_id!r}" for doc_id in named if doc_id not in texts for location in named[doc_id]]
        allowed = self.max_unresolved * count if self.max_unresolved < 1 else self.max_unresolved
        if len(missing) > allowed:
            first = "\n  ".join(missing[:5])
            raise InputError(
                f"{len(missing)} of {count} positives name no document of data.documents={self.documents} "
                f"(data.max_unresolved={self.max_unresolved}):\n  {first}\nuse matching revisions, or raise "
                "data.max_unresolved to drop them"
            )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reader of a subset's rows."""

    source: ReasonIR
    subset: str
    texts: Mapping[str, tuple[str, str]]
    bench: Decontamination

    def row(self, record: Record) -> Iterator[Example | Rejected]:
        """Yield the row's example, if it has one, and what is rejected of it."""
        location, query = record.location, _pair(value_of(record, "query"))
        if query is None:
            yield Rejected("malformed_query", location, shorten(record.values.get("query")))
        elif not query[1].strip():
            yield Rejected("empty_query", location, "")
        elif self.bench.resembles(query[1]):
            yield Rejected("contaminated_query", location, query[1])
        else:
            yield from self._with_documents(record, query)

    def _with_documents(self, record: Record, query: tuple[str, str]) -> Iterator[Example | Rejected]:
        kept: dict[str, list[Document]] = {}
        for side in ("pos", "neg"):
            items = [self._document(side, pair, record.location) for pair in _pairs(value_of(record, side))]
            yield from (item for item in items if isinstance(item, Rejected))
            kept[side] = [item for item in items if isinstance(item, Document)]
        positives, negatives = kept["pos"], kept["neg"]
        if not positives:
            yield Rejected("without_positive", record.location, query[1])
        elif self.subset == "vl" and negatives and _longest(*positives, *negatives) <= self.source.label_words:
            yield Rejected("label_like", record.location, f"{positives[0].text!r} against {negatives[0].text!r}")
        else:
            yield Example(_query_id(self.subset, record.location), query[1], (*positives, *negatives), query[0])

    def _document(self, side: str, pair: tuple[str, str] | None, location: str) -> Document | Rejected:
        instruction, value = pair or ("", "")
        named = self.subset == "hq" and side == "pos"
        doc_id, text = self.texts.get(value, (value, "")) if named else (f"text:{content_key(value):x}", value)
        role = "positive" if side == "pos" else "negative"
        kind = None
        if pair is None:
            kind = f"malformed_{role}"
        elif named and value not in self.texts:
            kind = "unresolved_positive"
        elif not text.strip():
            kind = f"empty_{role}"
        elif side == "pos" and self.bench.contains(doc_id, text):
            kind = "contaminated_positive"
        elif side == "pos" and count_words(text) < self.source.min_words:
            kind = "short_positive"
        if kind:
            return Rejected(kind, location, doc_id)
        return Document(doc_id, text, instruction, label=float(side == "pos"))


def _longest(*documents: Document) -> int:
    return max(count_words(document.text) for document in documents)


def _query_id(subset: str, location: str) -> str:
    file, _, row = location.rpartition(", ")
    return f"{subset}-{Path(file).name.split('.')[0]}-{row.rsplit(' ', 1)[-1]}"


def _resolve(folder: Path, wanted: frozenset[str]) -> dict[str, tuple[str, str]]:
    """Return id -> (split:id, text) of the wanted documents.

    Raises:
        InputError: there are no documents, or an id has two texts, in one split or in two.
    """
    resolved: dict[str, tuple[str, str]] = {}
    present = [split for split in bright.SPLITS if bright.files_of(folder, "documents", split)]
    if not present:
        raise InputError(f"data.documents: {folder} has no documents of any of BRIGHT's splits")
    for split in present:
        for doc_id, text, location in progress(bright.documents(folder, split), f"BRIGHT {split}"):
            if doc_id in wanted and resolved.setdefault(doc_id, (f"{split}:{doc_id}", text))[1] != text:
                raise InputError(
                    f"{location}: id {doc_id!r} has another text than {resolved[doc_id][0]!r}: use files of one "
                    "revision of BRIGHT"
                )
    return resolved


def _pair(value: Any) -> tuple[str, str] | None:
    """Return (instruction, text) of an [instruction, text] that UTF-8 can write, or None for anything else."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        instruction, text = value
        if all(isinstance(each, str) and is_encodable(each) for each in value):
            return instruction.strip(), text
    return None


def _pairs(value: Any) -> list[tuple[str, str] | None]:
    """Return the (instruction, text) of each item of a list; a single None for anything but a list."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return [None]
    return [_pair(item) for item in value]


def _merged(group: Sequence[Example]) -> Iterator[Example | Rejected]:
    """Yield equal queries as one example with distinct documents, and the negatives that are positives elsewhere."""
    documents: dict[int, Document] = {}
    for example in group:
        for document in example.positives:
            documents.setdefault(content_key(document.text), document)
    positives = set(documents)
    for example in group:
        for document in example.negatives:
            if content_key(document.text) in positives:
                yield Rejected("negative_equals_positive", example.query_id, document.text)
            else:
                documents.setdefault(content_key(document.text), document)
    yield replace(group[0], documents=tuple(documents.values()))
