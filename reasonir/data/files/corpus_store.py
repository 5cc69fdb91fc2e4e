"""Corpora on the disk: ids in memory, texts memory-mapped from an Arrow file that is written once.

A benchmark of a million documents is read before anything is trained, so that what is wrong with it is said at once,
and all its corpora stay open to the end. Mapped, they cost address space in place of memory. A file is named by the
SHA-256 of what it was made from and used again while that is the same.
"""

from __future__ import annotations

import hashlib
import logging
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
from reasonir.utils.files import atomic_path
from reasonir.utils.progress import progress

log = logging.getLogger(__name__)
_FORMAT = 1
_ROWS = 1024
Rows = Callable[[], Iterable[tuple[str, str, str]]]
"""Gives the (id, text, place) of every document, from the start."""


class Mapped(Sequence[str]):
    """A column of texts in a memory-mapped Arrow file."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return self._column[place].to_pylist()  # type: ignore[no-any-return]
        return self._column[place].as_py()  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _ROWS):
            yield from self[start : start + _ROWS]


@dataclass(frozen=True, slots=True)
class StoredCorpus:
    """A corpus with what identifies its texts.

    Attributes:
        corpus: ids and texts.
        keys_N: the content key of every text.
        digest: of all ids and texts in order; equal corpora have equal ones.
    """

    corpus: Corpus
    keys_N: np.ndarray
    digest: str


def store(rows: Rows, files: Sequence[Path], folder: Path, *, what: str) -> StoredCorpus:
    """The corpus that `rows` gives, written to `folder` unless it is there; documents given twice stand in it once.

    Args:
        rows: the documents.
        files: what they are read from, whose contents name the file.
        folder: of stored corpora.
        what: for the progress bar.

    Raises:
        InputError: one id with two texts, or what `rows` raises.
    """
    contents = hashlib.sha256(repr((_FORMAT, list(digests(files, folder).values()))).encode())
    file = folder / f"{contents.hexdigest()[:24]}.arrow"
    if file.is_file():
        try:
            return _open(file)
        except (OSError, ValueError) as error:  # what pyarrow raises for files that end too early or aren't its own
            log.warning("%s is damaged (%s) and is written again", file, str(error).splitlines()[0])
    with atomic_path(file) as partial:
        _write(progress(rows(), what), partial)
    return _open(file)


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
    fresh = _distinct(rows, keys)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        while batch := list(islice(fresh, _ROWS)):
            ids, texts, batch_keys = zip(*batch, strict=True)
            writer.write_batch(pa.record_batch([list(ids), list(texts), list(batch_keys)], schema=schema))


def _distinct(rows: Iterable[tuple[str, str, str]], keys: dict[str, int]) -> Iterator[tuple[str, str, int]]:
    for doc_id, text, place in rows:
        key = content_key(text)
        if doc_id not in keys:
            keys[doc_id] = key
            yield doc_id, text, key
        elif keys[doc_id] != key:
            raise InputError(f"{place}: id {doc_id!r} stands for two different texts: fetch one revision only")
