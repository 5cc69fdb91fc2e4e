"""Vectors of many documents in a file, in half precision: appended block by block, read by memory mapping."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reasonir.data.batch import Representation

_ROWS = 1 << 16


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
