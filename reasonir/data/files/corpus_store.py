"""Corpora on disk: ids in memory, texts memory-mapped from an Arrow file that is written once.

A benchmark of a million documents is read before training, so that errors in it show up at once, and all its corpora
stay open to the end. Mapped, they take address space instead of memory. A corpus is a folder, named by the SHA-256 of
its source files and reused while these stay the same; one that fails its checksums is written again.

Shape letters: N documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from reasonir.data.base import content_key
from reasonir.data.files.records import digests
from reasonir.errors import InputError
from reasonir.types import Corpus
from reasonir.utils.progress import progress
from reasonir.utils.state import cached_folder

_FORMAT = 2
_FILE = "documents.arrow"
_ROWS = 1024
Rows = Callable[[], Iterable[tuple[str, str, str]]]
"""Callable that iterates over (id, text, location) of every document."""


class Mapped(Sequence[str]):
    """Column of texts in a memory-mapped Arrow file."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return self._column[index].to_pylist()  # type: ignore[no-any-return]
        return self._column[index].as_py()  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _ROWS):
            yield from self[start : start + _ROWS]


@dataclass(frozen=True, slots=True)
class StoredCorpus:
    """Corpus with keys of its texts.

    Attributes:
        corpus: ids and texts.
        keys_N: content key of every text.
        digest: of all ids and texts in order; equal corpora have equal digests.
    """

    corpus: Corpus
    keys_N: np.ndarray
    digest: str


def store(rows: Rows, files: Sequence[Path], folder: Path, *, what: str) -> StoredCorpus:
    """Return the corpus of `rows`, each document once, written to `folder` unless it is stored there already.

    Args:
        rows: the documents.
        files: the files that `rows` reads, whose contents name the stored file.
        folder: where corpora are stored.
        what: description next to the progress bar.

    Raises:
        InputError: one id has two texts, or an error of `rows`.
    """
    contents = hashlib.sha256(repr((_FORMAT, list(digests(files, folder).values()))).encode())
    stored = folder / contents.hexdigest()[:24]
    cached_folder(stored, lambda partial: _write(progress(rows(), what), partial / _FILE))
    return _open(stored / _FILE)


def _open(file: Path) -> StoredCorpus:
    import pyarrow as pa

    with pa.memory_map(str(file)) as source:
        table = pa.ipc.open_file(source).read_all()
    ids, keys_N = table["id"].to_pylist(), table["key"].to_numpy()
    digest = hashlib.sha256("\n".join(ids).encode() + keys_N.tobytes()).hexdigest()
    return StoredCorpus(Corpus(ids, Mapped(table["text"])), keys_N, digest)


def _write(rows: Iterable[tuple[str, str, str]], file: Path) -> None:
    import pyarrow as pa

    keys: dict[str, int] = {}
    schema = pa.schema([("id", pa.string()), ("text", pa.large_string()), ("key", pa.int64())])
    distinct = _distinct(rows, keys)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        while batch := list(islice(distinct, _ROWS)):
            ids, texts, batch_keys = zip(*batch, strict=True)
            writer.write_batch(pa.record_batch([list(ids), list(texts), list(batch_keys)], schema=schema))


def _distinct(rows: Iterable[tuple[str, str, str]], keys: dict[str, int]) -> Iterator[tuple[str, str, int]]:
    for doc_id, text, location in rows:
        key = content_key(text)
        if doc_id not in keys:
            keys[doc_id] = key
            yield doc_id, text, key
        elif keys[doc_id] != key:
            raise InputError(f"{location}: id {doc_id!r} has two different texts: use files of one revision only")
