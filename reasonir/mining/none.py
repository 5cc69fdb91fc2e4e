"""No mining: training takes the negatives that the data brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reasonir.data.base import Source


@dataclass(frozen=True, slots=True)
class NoMining:
    """The null object of `Mining`."""

    def add_negatives(self, own: Path, source: Source, home: Path) -> Path:
        """The prepared set as it is."""
        return own
