"""Files of a collection in the BEIR layout (Thakur et al. 2021, arXiv:2104.08663): corpus, queries, qrels per split.

A folder has corpus.jsonl (_id, title, text), queries.jsonl (_id, text) and qrels/<split>.tsv (query-id, corpus-id,
score). Also read: the hub's configurations as folders (corpus/, queries/, and qrels/, data/ or default/) of parquet or
JSON lines, with one file for all splits or one per split, as BEIR and MTEB publish them; qrels in a repository of their
own (BeIR/x-qrels), or in a folder of that name beside the collection; qrels without a score, which list relevant
documents. A document's text is its title followed by its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasonir.data.base import Rejected
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import document_text, find, id_of, read
from reasonir.errors import InputError
from reasonir.utils.values import check_grade

_PLACES = ("qrels/", "data/", "default/", "default/*/", "")
_QRELS = tuple(f"{place}*.{kind}*" for place in _PLACES for kind in ("tsv", "csv", "jsonl", "parquet"))
_SUFFIXES = re.compile(r"(-\d{5}-of-\d{5})?\.[a-z]+(\.gz)?$")
_TEXTS = ("corpus", "queries")


@dataclass(frozen=True, slots=True)
class Layout:
    """Files of one split of a collection, and the folder of the collection."""

    folder: Path
    corpus: tuple[Path, ...]
    queries: tuple[Path, ...]
    qrels: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """Documents and queries by id, judgements of queries with a relevant document, and what was left out."""

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    rejected: tuple[Rejected, ...]


def layout(path: str, split: str, *, revision: str | None = None, key: str = "data") -> Layout:
    """Return a split's files.

    Raises:
        InputError: files are missing; names them, and the available splits.
    """
    folder = local_data(path, revision=revision, key=f"{key}.path")
    if not folder.is_dir():
        raise InputError(f"{key}.path={path} is a file: a BEIR collection is a folder with corpus.jsonl and qrels/")
    corpus, queries = (part_files(folder, part, split) for part in _TEXTS)
    for files, name in ((corpus, "corpus.jsonl"), (queries, "queries.jsonl")):
        if not files:
            raise InputError(f"{key}.path={path}: {folder} has no {name}: give the folder of the collection")
    qrels = qrels_by_split(folder, path, split, revision=revision, key=key)
    if split.lower() not in qrels:
        splits = ", ".join(sorted(qrels)) or "none"
        raise InputError(f"{key}.split={split}: {folder} has no qrels of that split: choose one of {splits}")
    return Layout(folder, tuple(corpus), tuple(queries), tuple(qrels[split.lower()]))


def part_files(folder: Path, part: str, split: str | None = None) -> list[Path]:
    """Return the files of the corpus or the queries, in a folder of one file per split those of `split`.

    Raises:
        InputError: there are several splits, and `split` is none of them.
    """
    if files := find(folder, [f"{part}.jsonl*", f"{part}*.parquet"], tables=True):
        return files
    by_split = _by_split(folder, [f"{part}/*.parquet", f"{part}/*.jsonl*", f"{part}/*/*.parquet"])
    for name in ((split or part).lower(), part):
        if name in by_split:
            return by_split[name]
    if len(by_split) > 1:
        raise InputError(f"{folder / part} has the splits {', '.join(sorted(by_split))}: choose one of these")
    return next(iter(by_split.values()), [])


def qrels_by_split(
    folder: Path, path: str, split: str, *, revision: str | None, key: str
) -> Mapping[str, Sequence[Path]]:
    """Return the qrels files by split, in lower case; those of BeIR/x are in BeIR/x-qrels."""
    qrels, beside = _by_split(folder, _QRELS), f"{path.rstrip('/')}-qrels"
    on_hub = not Path(path).expanduser().exists()
    if split.lower() not in qrels and (Path(beside).expanduser().is_dir() or (on_hub and not qrels)):
        same = None if re.fullmatch("[0-9a-f]{40}", revision or "") else revision  # a commit is of one repository
        qrels |= _by_split(local_data(beside, revision=same, key=f"{key}.path"), _QRELS)
    return qrels


def read_split(files: Layout) -> Split:
    """Read a split, leaving out what can't be evaluated: documents and queries without text, and what depends on them.

    Raises:
        InputError: a malformed row, or one id with two contents.
    """
    rejected: list[Rejected] = []
    documents, queries = (
        _texts(paths, kind, rejected)
        for paths, kind in ((files.corpus, "documents_without_text"), (files.queries, "queries_without_text"))
    )
    judged = _judgements(files.qrels, documents, queries, rejected)
    return Split(documents, queries, judged, tuple(rejected))


def read_documents(files: Iterable[Path]) -> dict[str, str]:
    """Return the documents that have a text, by id.

    Raises:
        InputError: a malformed row, or one id with two contents.
    """
    return _texts(files, "documents_without_text", [])


def _by_split(folder: Path, patterns: Iterable[str]) -> dict[str, list[Path]]:
    """Return the tables of each split, by the first pattern that matches any of it.

    A file's name gives its split, "test" for test-00000-of-00001.parquet and test.jsonl.gz, or its folder's name where
    it is a number (test/0000.parquet).
    """
    by_split: dict[str, list[Path]] = {}
    for pattern in patterns:
        found: dict[str, list[Path]] = {}
        for file in find(folder, [pattern], tables=True):
            stem = _SUFFIXES.sub("", file.name.lower())
            found.setdefault(file.parent.name.lower() if stem.isdecimal() else stem, []).append(file)
        by_split = {name: files for name, files in found.items() if name not in _TEXTS or pattern[0] != "*"} | by_split
    return by_split


def _texts(files: Iterable[Path], kind: str, rejected: list[Rejected]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for file in files:
        for record in read(file):
            key, text = id_of(record, ("_id", "id")), document_text(record)
            if texts.setdefault(key, text) != text:
                raise InputError(f"{record.location}: id {key!r} has a second text: ids must be unique")
            if not text:
                rejected.append(Rejected(kind, record.location, key))
    return {key: text for key, text in texts.items() if text}


def _judgements(
    files: Iterable[Path], documents: Mapping[str, str], queries: Mapping[str, str], rejected: list[Rejected]
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    locations: dict[str, str] = {}
    for file in files:
        for query_id, doc_id, grade, location in _rows(file):
            if query_id not in queries:
                rejected.append(Rejected("judgements_of_missing_queries", location, query_id))
                continue
            locations.setdefault(query_id, location)
            labels = qrels.setdefault(query_id, {})
            if doc_id not in documents:
                rejected.append(Rejected("judgements_of_missing_documents", location, doc_id))
            elif labels.setdefault(doc_id, grade) != grade:
                raise InputError(
                    f"{location}: query {query_id!r} and document {doc_id!r} have the scores "
                    f"{labels[doc_id]} and {grade}: keep one of the rows"
                )
    irrelevant = [query_id for query_id, labels in qrels.items() if max(labels.values(), default=0) <= 0]
    for query_id in irrelevant:
        rejected.append(Rejected("queries_without_a_relevant_document", locations[query_id], query_id))
        del qrels[query_id]
    return qrels


def _rows(file: Path) -> Iterator[tuple[str, str, int, str]]:
    """Yield (query id, document id, grade, location) of the rows of a qrels file."""
    for record in read(file):
        query_id, doc_id = (id_of(record, [name]) for name in ("query-id", "corpus-id"))
        grade = check_grade(record.values["score"], f"{record.location}: score") if "score" in record.values else 1
        yield query_id, doc_id, grade, record.location
