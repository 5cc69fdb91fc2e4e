"""Collections in the BEIR layout (see `reasonir.data.files.beir`) as retrieval tasks and as training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reasonir.data.base import Rejected, copy_key
from reasonir.data.files.beir import (
    Layout,
    Split,
    candidates_of,
    layout,
    qrels_by_split,
    read_documents,
    read_split,
)
from reasonir.data.files.canary import deciphered
from reasonir.data.files.hub import local_data
from reasonir.data.files.records import digests
from reasonir.data.prepared import Report
from reasonir.errors import InputError, raise_errors
from reasonir.types import Corpus, Document, Example, Task, Text


def read_task(
    path: str,
    split: str,
    *,
    revision: str | None = None,
    subset: str | None = None,
    candidates: str | None = None,
    canary: str | None = None,
    ignore_identical_ids: bool = True,
    strict: bool = False,
    key: str = "data",
) -> Task:
    """Return the retrieval task of a split: the whole corpus, and the queries with qrels.

    Documents and queries without text, judgements of those that don't exist, and queries without a relevant document
    are left out; the task's protocol counts them.

    Args:
        path: folder, or dataset repository on the hub.
        split: name of the qrels.
        revision: branch, tag or commit of a hub id.
        subset: one of several collections in the repository.
        candidates: configuration with the documents to rank for each query; None for the whole corpus.
        canary: password of texts that are published encrypted (see `data.files.canary`).
        ignore_identical_ids: never rank a document for the query with its id, unless it is relevant to it:
            queries of ArguAna and Quora are documents themselves (Thakur et al. 2021, arXiv:2104.08663).
        strict: raise instead of leaving anything out.
        key: configuration group, for messages.

    Raises:
        InputError: a malformed row, an empty corpus, or no query with a relevant document; each with its location.
    """
    files = layout(path, split, revision=revision, subset=subset, key=key)
    content, report = _read(files, f"{key}.path={path}, split {split}", strict=strict)
    report.log()
    if canary:
        content = replace(
            content, documents=deciphered(content.documents, canary), queries=deciphered(content.queries, canary)
        )
    own = own_documents(content) if ignore_identical_ids else {}
    name = collection_name(path, subset)
    listed = candidates_of(files, candidates, split) if candidates else {}
    return Task(
        name=name,
        queries={query_id: Text(content.queries[query_id]) for query_id in content.qrels},
        corpus=Corpus(list(content.documents), list(content.documents.values())),
        qrels=content.qrels,
        excluded=own,
        candidates={query_id: listed.get(query_id, []) for query_id in content.qrels} if candidates else {},
        protocol={
            "collection": name,
            "split": split,
            "revision": revision or "",
            **({"candidates": candidates} if candidates else {}),
            "documents": str(len(content.documents)),
            "documents with a query's id": f"not ranked for it ({len(own)})" if ignore_identical_ids else "ranked",
            "left out": ", ".join(report.lines()) or "nothing",
        },
    )


def collection_name(path: str, subset: str | None = None) -> str:
    """Return the name of a collection: its folder's or repository's, and its subset's."""
    name = Path(path).expanduser().absolute().name
    return f"{name}-{subset}" if subset else name


def own_documents(content: Split) -> dict[str, frozenset[str]]:
    """Return the document with a query's id as the one excluded for it, unless it is relevant to it."""
    return {
        query_id: frozenset({query_id})
        for query_id, labels in content.qrels.items()
        if query_id in content.documents and labels.get(query_id, 0) <= 0
    }


def _read(files: Layout, what: str, *, strict: bool) -> tuple[Split, Report]:
    """Read a split, with the report of what was left out.

    Raises:
        InputError: nothing is left, or something was left out and `strict`.
    """
    content = read_split(files)
    report = Report.of(content.rejected)
    if not content.documents:
        raise InputError(f"{files.corpus[0]} has no document with a text: a corpus needs at least one document")
    if strict:
        counts_and_first = zip(report.lines(), report.first.values(), strict=True)
        raise_errors(
            [f"{count}, the first: {first[0]}" for count, first in counts_and_first],
            f"fault in {what}, which strict=false leaves out",
        )
    if not content.qrels:
        counts = ", ".join(report.lines()) or "nothing"
        raise InputError(
            f"{files.qrels[0]} has no qrels of a query with a relevant document (score above 0; left out: {counts}): "
            "choose another split"
        )
    return content, report


@dataclass(frozen=True, slots=True)
class Beir:
    """Training examples from a collection's qrels: score above 0 is a positive's label, 0 or less a negative's 0.

    Attributes:
        path: folder, or dataset repository on the hub.
        subset: one of several collections in the repository.
        split: qrels to train on.
        dev_split: qrels that select the best checkpoint; None holds out part of `split`. Never the test split.
        test_split: qrels that eval=test_split evaluates on, if the collection has them.
        revision: branch, tag or commit of a hub id.
        ignore_identical_ids: the document with a query's id is neither ranked for it nor mined as its negative, unless
            it is relevant to it.
        strict: raise on what can't be trained or evaluated on, instead of leaving it out.
    """

    path: str
    split: str = "train"
    dev_split: str | None = None
    test_split: str = "test"
    revision: str | None = None
    ignore_identical_ids: bool = True
    strict: bool = False
    subset: str | None = None

    @property
    def name(self) -> str:
        """Name of the collection and split."""
        return f"{collection_name(self.path, self.subset)}-{self.split}"

    def identity(self) -> Mapping[str, Any]:
        """Return the splits, the options and the hashes of the files."""
        files = self._layout(self.split)
        dev = self._layout(self.dev_split).qrels if self.dev_split else ()
        return {
            "source": "beir",
            "split": self.split,
            "dev_split": self.dev_split,
            "ignore_identical_ids": self.ignore_identical_ids,
            "strict": self.strict,
            "files": digests([*files.corpus, *files.queries, *files.qrels, *dev], files.folder),
        }

    def examples(self) -> Iterator[Example | Rejected]:
        """Yield one example per query with qrels, and what was left out."""
        what = f"data.path={self.path}, split {self.split}"
        content, _ = _read(self._layout(self.split), what, strict=self.strict)
        yield from content.rejected
        own = own_documents(content) if self.ignore_identical_ids else {}
        for query_id, labels in content.qrels.items():
            documents = tuple(
                Document(doc_id, content.documents[doc_id], label=float(max(grade, 0)))
                for doc_id, grade in labels.items()
            )
            excluded = tuple(copy_key(content.documents[doc_id]) for doc_id in own.get(query_id, ()))
            yield Example(query_id, content.queries[query_id], documents, excluded=excluded)

    def collection(self) -> Iterator[Document]:
        """Yield the whole corpus."""
        files = self._layout(self.split)
        for doc_id, text in read_documents(files.corpus).items():
            yield Document(doc_id, text, label=0.0)

    def tests(self) -> Iterator[Task]:
        """Yield the task of `test_split`, unless it is trained on or doesn't exist."""
        folder = local_data(self.path, revision=self.revision)
        qrels = qrels_by_split(
            folder, self.path, self.test_split, revision=self.revision, subset=self.subset, key="data"
        )
        if self.test_split.lower() in qrels and self.test_split not in (self.split, self.dev_split):
            yield self._task(self.test_split)

    def dev(self) -> Task | None:
        """Return the task of `dev_split`, if set."""
        return self._task(self.dev_split) if self.dev_split else None

    def _layout(self, split: str) -> Layout:
        return layout(self.path, split, revision=self.revision, subset=self.subset)

    def _task(self, split: str) -> Task:
        return read_task(
            self.path,
            split,
            revision=self.revision,
            subset=self.subset,
            ignore_identical_ids=self.ignore_identical_ids,
            strict=self.strict,
        )
