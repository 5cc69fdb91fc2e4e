"""No mining: training uses the negatives that come with the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reasonir.data.base import Source


@dataclass(frozen=True, slots=True)
class NoMining:
    """Null object of `Mining`."""

    def add_negatives(self, prepared: Path, source: Source, home: Path) -> Path:
        """Return the prepared set unchanged."""
        return prepared
