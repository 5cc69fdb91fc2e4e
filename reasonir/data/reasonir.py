"""ReasonIR's training data (Shao et al. 2025, arXiv:2504.20595), its positives resolved against BRIGHT's documents.

`hq` rows name their positive by a BRIGHT id and bring a written hard negative; `vl` rows bring both texts. An id is
looked up only where the schema has one, so a label like "5" stays a text. Two passes: the first notes which documents
are wanted and which queries stand in several rows, the second streams rows out, so memory holds the wanted documents
and the repeated queries, not the data. Every row or document that is left out is reported by kind, with examples.

reasonir-data is CC BY-NC 4.0; BRIGHT's card names training an unsuitable use of its own queries: `decontaminate` says
how far the result keeps away from them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le, MinLen

from reasonir.data.base import Rejected, content_key
from reasonir.data.files import bright
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import Record, digests, find, read
from reasonir.data.splits.decontamination import Decontamination, Level
from reasonir.errors import InputError
from reasonir.types import Document, Example, Task
from reasonir.utils.progress import progress
from reasonir.utils.ranges import NonNegative, NonNegativeFloat, Validated
from reasonir.utils.sentences import count_words

log = logging.getLogger(__name__)
Subset = Literal["hq", "vl"]
SUBSETS: tuple[Subset, ...] = ("hq", "vl")


@dataclass(frozen=True, slots=True)
class ReasonIR(Validated):
    """The subsets of ReasonIR's public data as examples.

    Attributes:
        path: folder or hub id; hq and vl are folders or files in it.
        subsets: hq, vl or both.
        revision: commit of the hub id.
        documents: folder or hub id of BRIGHT, whose documents hq names.
        documents_revision: its commit.
        max_unresolved: positives that may name no document before the run fails: a number, or below 1 a share.
        label_words: rows of vl whose texts have no more words than this are labels, not passages; 0 keeps them.
        min_words: positives with fewer words are left out.
        decontaminate: none; gold leaves out positives that BRIGHT judges relevant (and copies of them), excluded also
            those any query excludes, queries also near-duplicates of its queries.
        overlap: share of word 8-grams from which a query counts as a near-duplicate.
    """

    path: str
    subsets: Annotated[Sequence[Subset], MinLen(1)] = ("hq",)
    revision: str | None = None
    documents: str = bright.HUB_ID
    documents_revision: str | None = bright.REVISION
    max_unresolved: NonNegativeFloat = 0
    label_words: NonNegative = 5
    min_words: NonNegative = 0
    decontaminate: Level = "none"
    overlap: Annotated[float, Gt(0), Le(1)] = 0.3

    @property
    def name(self) -> str:
        """The subsets."""
        return f"reasonir-{'-'.join(self.subsets)}"

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
        """None: part of the data is held out."""
        return None

    def examples(self) -> Iterator[Example | Rejected]:
        """Queries with their positives, those of equal queries together; what is left out in between."""
        folder, documents = self._folders()
        wanted, repeated = self._first_pass(folder)
        bench = Decontamination.read(documents, self.decontaminate, self.overlap)
        texts = _resolve(documents, bench.gold | wanted.keys()) if wanted or bench.gold else {}
        bench = replace(bench, gold_keys=frozenset(content_key(texts[i][1]) for i in bench.gold if i in texts))
        self._refuse_unresolved(wanted, texts)
        waiting: dict[int, list[Example]] = {}
        seen: set[tuple[int, ...]] = set()
        for subset in self.subsets:
            reader = _Reader(self, subset, texts, bench)
            for record in progress(self._rows(folder, subset), f"ReasonIR {subset}"):
                found = list(reader.row(record))
                yield from (each for each in found if isinstance(each, Rejected))
                for example in (each for each in found if isinstance(each, Example)):
                    key = content_key(example.query)
                    whole = (key, *(content_key(document.text) for document in example.documents))
                    if whole in seen:
                        yield Rejected("duplicate_row", record.place, example.query)
                    elif key in repeated:
                        waiting.setdefault(key, []).append(example)
                    else:
                        yield example
                    seen.add(whole)
        for group in waiting.values():
            yield from _merged(group)

    def _folders(self) -> tuple[Path, Path]:
        folder = local_data(self.path, revision=self.revision)
        if not folder.is_dir():
            raise InputError(f"data.path={self.path} is a file: give the folder that holds {' and '.join(SUBSETS)}")
        if self.subsets == ("vl",) and self.decontaminate == "none":
            return folder, folder
        return folder, bright.folder_of(self.documents, revision=self.documents_revision, key="data.documents")

    def _files(self, folder: Path, subset: str) -> list[Path]:
        files = find(folder, [f"{subset}/train*", f"{subset}/*.parquet", f"{subset}/*.json*", f"{subset}.*"])
        if not files:
            raise InputError(
                f"data.path={self.path}: {folder} holds no {subset}: expected {subset}/*.parquet or .jsonl"
            )
        return files

    def _rows(self, folder: Path, subset: str) -> Iterator[Record]:
        for file in self._files(folder, subset):
            yield from read(file)

    def _first_pass(self, folder: Path) -> tuple[dict[str, list[str]], set[int]]:
        """The ids that positives name, with their places, and the keys of queries that stand in several rows."""
        wanted: dict[str, list[str]] = {}
        counts: Counter[int] = Counter()
        for subset in self.subsets:
            for record in progress(self._rows(folder, subset), f"ReasonIR {subset}: first pass"):
                query = _pair(record.values.get("query"))
                counts[content_key(query[1]) if query else 0] += 1
                for pair in _pairs(record.values.get("pos")) if subset == "hq" else ():
                    if pair:
                        wanted.setdefault(pair[1], []).append(record.place)
        return wanted, {key for key, count in counts.items() if count > 1}

    def _refuse_unresolved(self, wanted: Mapping[str, Sequence[str]], texts: Mapping[str, tuple[str, str]]) -> None:
        named = sum(len(places) for places in wanted.values())
        missing = [f"{place}: {doc_id!r}" for doc_id in wanted if doc_id not in texts for place in wanted[doc_id]]
        allowed = self.max_unresolved * named if self.max_unresolved < 1 else self.max_unresolved
        if len(missing) > allowed:
            first = "\n  ".join(missing[:5])
            raise InputError(
                f"{len(missing)} of {named} positives name no document of data.documents={self.documents} "
                f"(data.max_unresolved={self.max_unresolved}):\n  {first}\nuse the revisions that belong together, or "
                "raise data.max_unresolved to leave them out"
            )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Makes examples of a subset's rows."""

    source: ReasonIR
    subset: str
    texts: Mapping[str, tuple[str, str]]
    bench: Decontamination

    def row(self, record: Record) -> Iterator[Example | Rejected]:
        """A row's example, or why there is none, and what of it was left out."""
        place, query = record.place, _pair(record.values.get("query"))
        if query is None:
            yield Rejected("malformed_query", place, repr(record.values.get("query")))
        elif not query[1].strip():
            yield Rejected("empty_query", place, "")
        elif self.bench.resembles(query[1]):
            yield Rejected("contaminated_query", place, query[1])
        else:
            yield from self._with_documents(record, query)

    def _with_documents(self, record: Record, query: tuple[str, str]) -> Iterator[Example | Rejected]:
        kept: dict[str, list[Document]] = {}
        for side in ("pos", "neg"):
            found = [self._document(side, pair, record.place) for pair in _pairs(record.values.get(side))]
            yield from (each for each in found if isinstance(each, Rejected))
            kept[side] = [each for each in found if isinstance(each, Document)]
        positives, negatives = kept["pos"], kept["neg"]
        if not positives:
            yield Rejected("without_positive", record.place, query[1])
        elif self.subset == "vl" and negatives and _longest(*positives, *negatives) <= self.source.label_words:
            yield Rejected("label_like", record.place, f"{positives[0].text!r} against {negatives[0].text!r}")
        else:
            relevant = {content_key(document.text) for document in positives}
            equal = [document for document in negatives if content_key(document.text) in relevant]
            yield from (Rejected("negative_equals_positive", record.place, document.text) for document in equal)
            documents = (*positives, *(document for document in negatives if document not in equal))
            yield Example(_query_id(self.subset, record.place), query[1], documents, query[0])

    def _document(self, side: str, pair: tuple[str, str] | None, place: str) -> Document | Rejected:
        instruction, given = pair or ("", "")
        named = self.subset == "hq" and side == "pos"
        doc_id, text = self.texts.get(given, (given, "")) if named else (f"text:{content_key(given):x}", given)
        what = "positive" if side == "pos" else "negative"
        kind = None
        if pair is None:
            kind = f"malformed_{what}"
        elif named and given not in self.texts:
            kind = "unresolved_positive"
        elif not text.strip():
            kind = f"empty_{what}"
        elif side == "pos" and self.bench.judges(doc_id, text):
            kind = "contaminated_positive"
        elif side == "pos" and count_words(text) < self.source.min_words:
            kind = "short_positive"
        if kind:
            return Rejected(kind, place, doc_id)
        return Document(doc_id, text, instruction, label=float(side == "pos"))


def _longest(*documents: Document) -> int:
    return max(count_words(document.text) for document in documents)


def _query_id(subset: str, place: str) -> str:
    file, _, row = place.rpartition(", ")
    return f"{subset}-{Path(file).name.split('.')[0]}-{row.rsplit(' ', 1)[-1]}"


def _resolve(folder: Path, wanted: frozenset[str]) -> dict[str, tuple[str, str]]:
    """The wanted documents: id -> (split:id, text).

    Raises:
        InputError: no documents, or one id with two texts, in one split or in two.
    """
    found: dict[str, tuple[str, str]] = {}
    present = [split for split in bright.SPLITS if bright.files_of(folder, "documents", split)]
    if not present:
        raise InputError(f"data.documents: {folder} has no documents of any of BRIGHT's splits")
    for split in present:
        for doc_id, text, place in progress(bright.documents(folder, split), f"BRIGHT {split}"):
            if doc_id in wanted and found.setdefault(doc_id, (f"{split}:{doc_id}", text))[1] != text:
                raise InputError(
                    f"{place}: id {doc_id!r} stands for another text than {found[doc_id][0]!r}: ids have to mean one "
                    "document; use one revision of BRIGHT"
                )
    return found


def _pair(value: Any) -> tuple[str, str] | None:
    """[instruction, text], or None for anything else."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        instruction, text = value
        if isinstance(instruction, str) and isinstance(text, str):
            return instruction.strip(), text
    return None


def _pairs(value: Any) -> list[tuple[str, str] | None]:
    """A list of [instruction, text]; one None stands for a value that is no list."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return [None]
    return [_pair(item) for item in value]


def _merged(group: Sequence[Example]) -> Iterator[Example | Rejected]:
    """Equal queries as one example; their documents once, no positive of one the negative of another."""
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
