"""Texts of rows that name their queries and documents by id, from tables of the same data set.

Of these tables (subsets, folders or files named queries, and corpus, documents or passages) the named texts are held in
memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reasonir.data.files.dataset_files import dataset_files
from reasonir.data.files.records import Record, document_text, id_of, read, text_of
from reasonir.errors import InputError
from reasonir.utils.progress import progress
from reasonir.utils.values import check_id

_TABLES = {"queries": ("queries", "query"), "documents": ("documents", "corpus", "passages", "docs")}
_IDS = ("query_id", "qid", "document_id", "doc_id", "passage_id", "corpus_id", "docid", "_id", "id")
_TEXTS = ("query", "document", "passage", "content")


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts of queries and documents by id."""

    queries: Mapping[str, str]
    documents: Mapping[str, str]

    def query(self, record: Record, name: str, value: Any) -> str:
        """Return a query's text.

        Raises:
            InputError: no query has the id.
        """
        return _named(self.queries, "query", record, name, value)[1]

    def document(self, record: Record, name: str, value: Any) -> tuple[str, str]:
        """Return a document's id and text.

        Raises:
            InputError: no document has the id.
        """
        return _named(self.documents, "document", record, name, value)


def texts_of(texts: Texts | None, record: Record) -> Texts:
    """Return the texts of a row's ids.

    Raises:
        InputError: the row is read without the tables.
    """
    if texts is None:
        raise InputError(
            f"{record.location}: the row names texts by id, which can't be read as a stream: omit data.stream"
        )
    return texts


def text_tables(path: str, split: str, revision: str | None) -> dict[str, list[Path]]:
    """Return the files with the texts of queries and of documents.

    Args:
        path: folder or hub id of the tables, or a file beside them.
        split: of the rows; tables with such a split are read by it, others whole.
        revision: branch, tag or commit of a hub id.

    Raises:
        InputError: there is no such table.
    """
    local = Path(path).expanduser()
    place = str(local.parent) if local.is_file() else path
    return {side: _files(place, names, split, revision) for side, names in _TABLES.items()}


def read_texts(tables: Mapping[str, Sequence[Path]], queries: set[str], documents: set[str]) -> Texts:
    """Return the texts of these ids.

    Raises:
        InputError: a malformed row.
    """
    wanted = {"queries": queries, "documents": documents}
    return Texts(**{side: _texts(tables[side], ids, side) for side, ids in wanted.items()})


def _files(path: str, names: Sequence[str], split: str, revision: str | None) -> list[Path]:
    fault: InputError | None = None
    for name in names:
        for subset, of_split in ((name, split), (name, "train"), (None, name)):
            try:
                return dataset_files(path, split=of_split, subset=subset, revision=revision).local()
            except InputError as error:
                fault = fault or error
    raise InputError(
        f"data.path={path}: rows name their texts by id, and there is no table {' or '.join(names)} with them: name "
        f"the data set that has it with data.texts ({fault})"
    )


def _texts(files: Sequence[Path], ids: set[str], side: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in files if ids else ():
        for record in progress(read(file), f"Texts of {side}"):
            if (text_id := id_of(record, [name for name in _IDS if name in record.values] or _IDS)) in ids:
                name = next((name for name in _TEXTS if name in record.values), None)
                found[text_id] = text_of(record, name) if name else document_text(record)
    return found


def _named(texts: Mapping[str, str], what: str, record: Record, name: str, value: Any) -> tuple[str, str]:
    text_id = check_id(value, f"{record.location}: '{name}'")
    if not (text := texts.get(text_id)):
        raise InputError(f"{record.location}: '{name}' is {text_id!r}, the id of no {what} with a text: remove the row")
    return text_id, text
