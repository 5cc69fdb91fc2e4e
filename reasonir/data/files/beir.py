"""Files of a collection in the BEIR layout (Thakur et al. 2021, arXiv:2104.08663): corpus, queries, qrels per split.

A folder has corpus.jsonl (_id, title, text), queries.jsonl (_id, text) and qrels/<split>.tsv (query-id, corpus-id,
score). Also read: the hub's configurations as folders (corpus/, queries/, and qrels/, data/ or default/) of parquet or
JSON lines, with one file for all splits or one per split, as BEIR and MTEB publish them; qrels in a repository of their
own (BeIR/x-qrels), or in a folder of that name beside the collection; qrels without a score, which list relevant
documents; R2MED's query/, q_id and p_id; qrels.jsonl in the folder itself, which are those of the split test. A
document's text is its title followed by its text.

One repository may hold several collections: as splits of each configuration (corpus/NanoNQ-*.parquet), as
configurations of their own (gold_only-corpus/), or as folders (python/corpus.jsonl): the last two are subsets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasonir.data.base import Rejected
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import document_text, find, id_of, read, value_of
from reasonir.errors import InputError
from reasonir.utils.values import check_grade, check_id, shorten

_PLACES = ("qrels/", "data/", "default/", "default/*/", "")
_KINDS = ("tsv", "csv", "jsonl", "parquet")
_PARTS = {"corpus": ("corpus",), "queries": ("queries", "query")}
_UNNAMED = "test"
"""Split of qrels that name none."""
_IDS = (("query-id", "q_id"), ("corpus-id", "p_id"))
_SUFFIXES = re.compile(r"(-\d{5}-of-\d{5})?\.[a-z]+(\.gz)?$", re.IGNORECASE)


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


def layout(
    path: str, split: str, *, revision: str | None = None, subset: str | None = None, key: str = "data"
) -> Layout:
    """Return a split's files.

    Args:
        path: folder, or dataset repository on the hub.
        split: name of the qrels, and of the texts where they are stored by split.
        revision: branch, tag or commit of a hub id.
        subset: one of several collections in the repository.
        key: configuration group, for messages.

    Raises:
        InputError: files are missing; names them, and the available subsets and splits.
    """
    folder = local_data(path, revision=revision, key=f"{key}.path")
    if not folder.is_dir():
        raise InputError(f"{key}.path={path} is a file: a BEIR collection is a folder with corpus.jsonl and qrels/")
    folder, subset = _place(folder, subset)
    corpus, queries = (part_files(folder, part, split, subset=subset) for part in ("corpus", "queries"))
    for files, name in ((corpus, "corpus"), (queries, "queries")):
        if not files and (subsets := _subsets(folder)):
            stated = f"{key}.subset={subset}" if subset else f"{key}.path={path}"
            raise InputError(
                f"{stated}: {folder} holds several collections: choose {key}.subset from {', '.join(subsets)}"
            )
        if not files:
            raise InputError(f"{key}.path={path}: {folder} has no {name}.jsonl: give the folder of the collection")
    qrels = qrels_by_split(folder, path, split, revision=revision, subset=subset, key=key)
    if split.lower() not in qrels:
        splits = ", ".join(sorted(qrels)) or "none"
        raise InputError(f"{key}.split={split}: {folder} has no qrels of that split: choose one of {splits}")
    return Layout(folder, tuple(corpus), tuple(queries), tuple(qrels[split.lower()]))


def part_files(folder: Path, part: str, split: str | None = None, *, subset: str | None = None) -> list[Path]:
    """Return the files of the corpus or the queries, in a folder of one file per split those of `split`.

    Args:
        folder: the collection's.
        part: corpus or queries.
        split: the split, where texts are stored by split.
        subset: prefix of the configurations' names.

    Raises:
        InputError: there are several splits, and `split` is none of them.
    """
    names = [f"{subset}-{name}" if subset else name for name in _PARTS[part]]
    if files := find(folder, [f"{name}{end}" for name in names for end in (".jsonl*", "*.parquet")], tables=True):
        return files
    by_split = _by_split(
        folder, [f"{name}/{file}" for name in names for file in ("*.parquet", "*.jsonl*", "*/*.parquet")]
    )
    for split_name in ((split or part).lower(), *_PARTS[part]):
        if split_name in by_split:
            return by_split[split_name]
    if len(by_split) > 1:
        raise InputError(f"{folder / names[0]} has the splits {', '.join(sorted(by_split))}: choose one of these")
    return next(iter(by_split.values()), [])


def splits_of(folder: Path, part: str = "queries") -> list[str]:
    """Return the splits of a part that is stored by split, as spelt in the files' names."""
    files = find(folder, [f"{name}/*.{kind}*" for name in _PARTS[part] for kind in _KINDS], tables=True)
    return list(dict.fromkeys(_stem(file) for file in files))


def candidates_of(files: Layout, configuration: str, split: str) -> dict[str, list[str]]:
    """Return the documents to rank for each query, best first, as a configuration such as bm25 lists them.

    Raises:
        InputError: there is no such configuration, or a malformed row.
    """
    by_split = _by_split(files.folder, [f"{configuration}/*.{kind}*" for kind in _KINDS])
    tables = by_split.get(split.lower()) or (next(iter(by_split.values())) if len(by_split) == 1 else [])
    if not tables:
        raise InputError(f"{files.folder} has no {configuration}/ for split {split}: choose other candidates, or null")
    listed: dict[str, list[str]] = {}
    for file in tables:
        for record in read(file):
            query_id, value = id_of(record, ["query-id"]), value_of(record, "corpus-ids")
            if not isinstance(value, list) or listed.get(query_id):
                raise InputError(
                    f"{record.location}: expected one row per query with a list in 'corpus-ids', found "
                    f"{shorten(value)} for query {query_id!r}: fetch the file again"
                )
            listed[query_id] = [check_id(each, f"{record.location}: an item of 'corpus-ids'") for each in value]
    return listed


def qrels_by_split(
    folder: Path, path: str, split: str, *, revision: str | None, key: str, subset: str | None = None
) -> Mapping[str, Sequence[Path]]:
    """Return the qrels files by split, in lower case; those of BeIR/x are in BeIR/x-qrels."""
    folder, subset = _place(folder, subset)
    places = (f"{subset}-qrels/",) if subset else _PLACES
    patterns = [f"{place}*.{kind}*" for place in places for kind in _KINDS]
    qrels, beside = _by_split(folder, patterns), f"{path.rstrip('/')}-qrels"
    if unnamed := qrels.pop("qrels", None):
        qrels.setdefault(_UNNAMED, unnamed)
    on_hub = not Path(path).expanduser().exists()
    if split.lower() not in qrels and (Path(beside).expanduser().is_dir() or (on_hub and not qrels)):
        same = None if re.fullmatch("[0-9a-f]{40}", revision or "") else revision  # a commit is of one repository
        qrels |= _by_split(local_data(beside, revision=same, key=f"{key}.path"), patterns)
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


def _place(folder: Path, subset: str | None) -> tuple[Path, str | None]:
    """Return the folder of a subset that has one of its own, or else the folder and the prefix of configurations."""
    return (folder / subset, None) if subset and (folder / subset).is_dir() else (folder, subset)


def _by_split(folder: Path, patterns: Iterable[str]) -> dict[str, list[Path]]:
    """Return the tables of each split, by the first pattern that matches any of it.

    A file's name gives its split, "test" for test-00000-of-00001.parquet and test.jsonl.gz, or its folder's name where
    it is a number (test/0000.parquet).
    """
    by_split: dict[str, list[Path]] = {}
    texts = (*_PARTS["corpus"], *_PARTS["queries"])
    for pattern in patterns:
        found: dict[str, list[Path]] = {}
        for file in find(folder, [pattern], tables=True):
            found.setdefault(_stem(file).lower(), []).append(file)
        by_split = {name: files for name, files in found.items() if name not in texts or pattern[0] != "*"} | by_split
    return by_split


def _stem(file: Path) -> str:
    stem = _SUFFIXES.sub("", file.name)
    return file.parent.name if stem.isdecimal() else stem


def _subsets(folder: Path) -> list[str]:
    """Return the names that configurations put in front of their part's, and folders that hold a corpus."""
    parts = [each.name.removesuffix("-corpus") for each in folder.glob("*-corpus")]
    return sorted([*parts, *(each.parent.name for each in folder.glob("*/corpus*") if each.parent.name != "corpus")])


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
        query_id, doc_id = (id_of(record, names) for names in _IDS)
        grade = check_grade(record.values["score"], f"{record.location}: score") if "score" in record.values else 1
        yield query_id, doc_id, grade, record.location
