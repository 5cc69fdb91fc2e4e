"""Files of an index: vectors of many documents in half precision, appended block by block, read by memory mapping."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.errors import InputError
from reasonir.utils.files import scratch_folder

_ROWS = 1 << 16


class IndexFolder:
    """Empty folder `path` for the files of an index, deleted with this object.

    Args:
        index: name of the index.
        parent: its parent; None is the system's folder of temporary files.

    Raises:
        InputError: the parent can't be written.
    """

    def __init__(self, index: str, parent: str | None) -> None:
        held = ExitStack()
        try:
            folder = scratch_folder(Path(parent or tempfile.gettempdir(), f"reasonir-{index}"))
            self.path = held.enter_context(folder)
        except OSError as error:
            raise InputError(f"index.folder={parent}: {error.strerror}: choose a writable folder") from None
        weakref.finalize(self, held.close)


@dataclass(slots=True)
class StoredVectors:
    """Documents' vectors in `file`.

    Attributes:
        file: the file, created by `append`.
        size: vector size.
        lengths_N: vectors of each document.
    """

    file: Path
    size: int = field(init=False, default=0)
    lengths_N: Tensor = field(init=False, default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def append(self, documents: Representation) -> None:
        """Append documents."""
        self.size = documents.values_TD.shape[1]
        self.lengths_N = torch.cat([self.lengths_N, documents.lengths_N])
        with self.file.open("ab") as stream:
            documents.values_TD.half().cpu().numpy().tofile(stream)

    @property
    def vectors(self) -> int:
        """Number of vectors of all documents."""
        return int(self.lengths_N.sum())

    def documents(self) -> tuple[Tensor, ...]:
        """Return the vectors of each document, as views of the file."""
        values = np.memmap(self.file, np.float16, mode="r+", shape=(self.vectors, self.size))
        return torch.split(torch.from_numpy(values), self.lengths_N.tolist())

    def blocks(self) -> Iterator[tuple[slice, Representation]]:
        """Yield (documents, their representation) in float32, with about equally many vectors each."""
        documents = self.documents()
        block_N = torch.div(self.lengths_N.cumsum(0) - 1, _ROWS, rounding_mode="floor")
        start = 0
        for count in torch.unique_consecutive(block_N, return_counts=True)[1].tolist():
            block = slice(start, start + count)
            yield block, Representation(torch.cat(documents[block]).float(), self.lengths_N[block])
            start += count
