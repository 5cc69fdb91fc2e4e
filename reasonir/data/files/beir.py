"""Files of a collection in the BEIR layout (Thakur et al. 2021, arXiv:2104.08663): corpus, queries, qrels per split.

A folder has corpus.jsonl (_id, title, text), queries.jsonl (_id, text) and qrels/<split>.tsv (query-id, corpus-id,
score). Also read: the hub's configurations as folders (corpus/, queries/, and qrels/, data/ or default/) of parquet or
JSON lines, with one file for all splits or one per split, as BEIR and MTEB publish them; qrels in a repository of their
own (BeIR/x-qrels); qrels without a score, which list relevant documents. A document's text is its title followed by its
text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reasonir.data.base import Rejected
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import document_text, find, id_of, read
from reasonir.errors import InputError
from reasonir.utils.values import check_grade

_QRELS = (
    "qrels/{0}.tsv*",
    "qrels/{0}.jsonl*",
    "qrels/{0}-*.parquet",
    "qrels/{0}.parquet",
    "data/{0}-*.parquet",
    "default/{0}-*.parquet",
    "{0}.tsv",
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


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
    corpus, queries = (part_files(folder, part, split) for part in ("corpus", "queries"))
    for files, name in ((corpus, "corpus.jsonl"), (queries, "queries.jsonl")):
        if not files:
            raise InputError(f"{key}.path={path}: {folder} has no {name}: give the folder of the collection")
    qrels = qrels_files(folder, path, split, revision=revision, key=key)
    if not qrels:
        splits = sorted({_stem(file) for file in find(folder, ["qrels/*", "data/*", "default/*"])})
        raise InputError(
            f"{key}.split={split}: {folder} has no qrels of that split: choose one of {', '.join(splits) or 'none'}"
        )
    return Layout(folder, tuple(corpus), tuple(queries), tuple(qrels))


def part_files(folder: Path, part: str, split: str | None = None) -> list[Path]:
    """Return the files of the corpus or the queries, in a folder of one file per split those of `split`.

    Raises:
        InputError: there are several splits, and `split` is none of them.
    """
    if files := find(folder, [f"{part}.jsonl*", f"{part}*.parquet"]):
        return files
    by_split: dict[str, list[Path]] = {}
    for file in find(folder, [f"{part}/*.parquet", f"{part}/*.jsonl*"]):
        by_split.setdefault(_stem(file), []).append(file)
    for name in (split, part):
        if name in by_split:
            return by_split[name]
    if len(by_split) > 1:
        raise InputError(f"{folder / part} has the splits {', '.join(sorted(by_split))}: choose one of these")
    return next(iter(by_split.values()), [])


def qrels_files(folder: Path, path: str, split: str, *, revision: str | None, key: str) -> list[Path]:
    """Return the qrels files of a split; empty if there is no such split."""
    patterns = [pattern.format(split) for pattern in _QRELS]
    files = find(folder, patterns)
    if not files and "/" in path and not Path(path).expanduser().exists():  # the qrels of BeIR/x are in BeIR/x-qrels
        files = find(local_data(f"{path}-qrels", revision=revision, key=f"{key}.path"), patterns)
    return files


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


def _stem(file: Path) -> str:
    """Return the split that a file's name gives: "test" for test-00000-of-00001.parquet and test.jsonl.gz."""
    name = file.name.removesuffix(".gz")
    return _SHARD.sub("", name.removesuffix("".join(Path(name).suffixes[-1:])))


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


@dataclass(slots=True)
class _JudgedQuery:
    location: str
    labels: dict[str, int] = field(default_factory=dict)


def _judgements(
    files: Iterable[Path], documents: Mapping[str, str], queries: Mapping[str, str], rejected: list[Rejected]
) -> dict[str, dict[str, int]]:
    judged: dict[str, _JudgedQuery] = {}
    for file in files:
        for query_id, doc_id, grade, location in _rows(file):
            if query_id not in queries:
                rejected.append(Rejected("judgements_of_missing_queries", location, query_id))
                continue
            query = judged.setdefault(query_id, _JudgedQuery(location))
            if doc_id not in documents:
                rejected.append(Rejected("judgements_of_missing_documents", location, doc_id))
            elif query.labels.setdefault(doc_id, grade) != grade:
                raise InputError(
                    f"{location}: query {query_id!r} and document {doc_id!r} have the scores "
                    f"{query.labels[doc_id]} and {grade}: keep one of the rows"
                )
    for query_id, query in judged.items():
        if max(query.labels.values(), default=0) <= 0:
            rejected.append(Rejected("queries_without_a_relevant_document", query.location, query_id))
    return {key: query.labels for key, query in judged.items() if max(query.labels.values(), default=0) > 0}


def _rows(file: Path) -> Iterator[tuple[str, str, int, str]]:
    """Yield (query id, document id, grade, location) of the rows of a qrels file."""
    for record in read(file):
        query_id, doc_id = (id_of(record, [name]) for name in ("query-id", "corpus-id"))
        grade = check_grade(record.values["score"], f"{record.location}: score") if "score" in record.values else 1
        yield query_id, doc_id, grade, record.location
