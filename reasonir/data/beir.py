"""Collections in the BEIR layout (Thakur et al. 2021, arXiv:2104.08663): corpus, queries, and qrels per split.

A folder has corpus.jsonl (_id, title, text), queries.jsonl (_id, text) and qrels/<split>.tsv (query-id, corpus-id,
score); the hub's parquet forms are read too. A document's text is its title followed by its text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonir.data.files.hub import local_data
from reasonir.data.files.records import digests, find, read, text_of
from reasonir.errors import InputError
from reasonir.types import Corpus, Document, Example, Task, Text

CORPUS = ("corpus.jsonl*", "corpus/*.parquet", "corpus/*.jsonl*", "corpus*.parquet")
_QUERIES = ("queries.jsonl*", "queries/*.parquet", "queries/*.jsonl*", "queries*.parquet")
_QRELS = (
    "qrels/{0}.tsv*",
    "qrels/{0}.jsonl*",
    "qrels/{0}-*.parquet",
    "qrels/{0}.parquet",
    "data/{0}-*.parquet",
    "default/{0}-*.parquet",
    "{0}.tsv",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Files of one split of a collection, and the folder of the collection."""

    folder: Path
    corpus: tuple[Path, ...]
    queries: tuple[Path, ...]
    qrels: tuple[Path, ...]


def layout(path: str, split: str, *, revision: str | None = None, key: str = "data") -> Layout:
    """Return a split's files.

    Raises:
        InputError: files are missing; names them, and the available splits.
    """
    folder = local_data(path, revision=revision, key=f"{key}.path")
    if not folder.is_dir():
        raise InputError(f"{key}.path={path} is a file: a BEIR collection is a folder with corpus.jsonl and qrels/")
    corpus, queries = find(folder, CORPUS), find(folder, _QUERIES)
    for files, name in ((corpus, "corpus.jsonl"), (queries, "queries.jsonl")):
        if not files:
            raise InputError(f"{key}.path={path}: {folder} has no {name}: give the folder of the collection")
    qrels = _qrels_files(folder, path, split, revision=revision, key=key)
    if not qrels:
        splits = sorted({file.name.split(".")[0].split("-")[0] for file in find(folder, ["qrels/*", "data/*"])})
        raise InputError(
            f"{key}.split={split}: {folder} has no qrels of that split: choose one of {', '.join(splits) or 'none'}"
        )
    return Layout(folder, tuple(corpus), tuple(queries), tuple(qrels))


def _qrels_files(folder: Path, path: str, split: str, *, revision: str | None, key: str) -> list[Path]:
    """Return the qrels files of a split; empty if there is no such split."""
    patterns = [pattern.format(split) for pattern in _QRELS]
    files = find(folder, patterns)
    if not files and "/" in path and not Path(path).expanduser().exists():  # the qrels of BeIR/x are in BeIR/x-qrels
        files = find(local_data(f"{path}-qrels", revision=revision, key=f"{key}.path"), patterns)
    return files


def read_task(path: str, split: str, *, revision: str | None = None, key: str = "data") -> Task:
    """Return the retrieval task of a split: the whole corpus, and the queries with qrels.

    Raises:
        InputError: a malformed row, an empty corpus, qrels of unknown documents or queries, or a query without a
            relevant document; each with its location.
    """
    files = layout(path, split, revision=revision, key=key)
    documents = _read_texts(files.corpus, document_text)
    if not documents:
        raise InputError(f"{files.corpus[0]} is empty: a corpus needs at least one document")
    queries = _read_texts(files.queries, lambda values: str(values.get("text") or ""))
    qrels = _read_qrels(files.qrels, documents, queries)
    name = Path(path).expanduser().absolute().name
    return Task(
        name=name,
        queries={query_id: Text(queries[query_id]) for query_id in qrels},
        corpus=Corpus(list(documents), list(documents.values())),
        qrels=qrels,
        protocol={
            "collection": name,
            "split": split,
            "revision": revision or "",
            "documents": str(len(documents)),
        },
    )


def document_text(values: Mapping[str, Any]) -> str:
    """Return a document's title and text as one string."""
    return f"{values.get('title') or ''} {values.get('text') or ''}".strip()


def _read_texts(files: tuple[Path, ...], text: Any) -> dict[str, str]:
    texts: dict[str, str] = {}
    for file in files:
        for record in read(file):
            name = "_id" if "_id" in record.values else "id"
            key = text_of(record, name)
            if key in texts:
                raise InputError(f"{record.location}: duplicate id {key!r}: ids must be unique")
            texts[key] = text(record.values)
            if not texts[key]:
                raise InputError(f"{record.location}: {key!r} has no text: fill in 'text' or remove the row")
    return texts


def _read_qrels(
    files: tuple[Path, ...], documents: Mapping[str, str], queries: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    locations: dict[str, str] = {}
    for file in files:
        for record in read(file):
            query_id, doc_id = text_of(record, "query-id"), text_of(record, "corpus-id")
            if query_id not in queries:
                raise InputError(
                    f"{record.location}: query {query_id!r} isn't among the queries: add it or remove the row"
                )
            if doc_id not in documents:
                raise InputError(
                    f"{record.location}: document {doc_id!r} isn't in the corpus: add it or remove the row"
                )
            try:
                score = int(record.values["score"])
            except (KeyError, TypeError, ValueError) as error:
                value = record.values.get("score")
                raise InputError(
                    f"{record.location}: score is {value!r}, expected a whole number: fix the row"
                ) from error
            qrels.setdefault(query_id, {})[doc_id] = score
            locations.setdefault(query_id, record.location)
    if not qrels:
        raise InputError(f"{files[0]} has no qrels: choose another split")
    for query_id, labels in qrels.items():
        if not any(score > 0 for score in labels.values()):
            raise InputError(
                f"{locations[query_id]}: query {query_id!r} has no relevant document (score above 0): "
                "add one or remove the query's rows"
            )
    return qrels


@dataclass(frozen=True, slots=True)
class Beir:
    """Training examples from a collection's qrels: score above 0 is a positive, 0 or less a negative.

    Attributes:
        path: folder, or dataset repository on the hub.
        split: qrels to train on.
        dev_split: qrels that select the best checkpoint; None holds out part of `split`. Never the test split.
        test_split: qrels that eval=test_split evaluates on, if the collection has them.
        revision: branch, tag or commit of a hub id.
    """

    path: str
    split: str = "train"
    dev_split: str | None = None
    test_split: str = "test"
    revision: str | None = None

    @property
    def name(self) -> str:
        """Name of the collection and split."""
        return f"{Path(self.path).expanduser().absolute().name}-{self.split}"

    def identity(self) -> Mapping[str, Any]:
        """Return the splits and the hashes of their files."""
        files = layout(self.path, self.split, revision=self.revision)
        dev = layout(self.path, self.dev_split, revision=self.revision).qrels if self.dev_split else ()
        return {
            "source": "beir",
            "split": self.split,
            "dev_split": self.dev_split,
            "files": digests([*files.corpus, *files.queries, *files.qrels, *dev], files.folder),
        }

    def examples(self) -> Iterator[Example]:
        """Yield one example per query with qrels."""
        task = read_task(self.path, self.split, revision=self.revision)
        texts = dict(zip(task.corpus.ids, task.corpus.texts, strict=True))
        for query_id, labels in task.qrels.items():
            documents = tuple(Document(doc_id, texts[doc_id], label=float(score)) for doc_id, score in labels.items())
            yield Example(query_id, task.queries[query_id].text, documents)

    def collection(self) -> Iterator[Document]:
        """Yield the whole corpus."""
        files = layout(self.path, self.split, revision=self.revision)
        for doc_id, text in _read_texts(files.corpus, document_text).items():
            yield Document(doc_id, text, label=0.0)

    def tests(self) -> Iterator[Task]:
        """Yield the task of `test_split`, unless it is trained on or doesn't exist."""
        folder = local_data(self.path, revision=self.revision)
        qrels = _qrels_files(folder, self.path, self.test_split, revision=self.revision, key="data")
        if qrels and self.test_split not in (self.split, self.dev_split):
            yield read_task(self.path, self.test_split, revision=self.revision)

    def dev(self) -> Task | None:
        """Return the task of `dev_split`, if set."""
        return read_task(self.path, self.dev_split, revision=self.revision) if self.dev_split else None
