"""No mining: training takes the negatives that the data brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reasonir.data.base import Source


@dataclass(frozen=True, slots=True)
class Unmined:
    """The null object of `Mining`."""

    def problems(self) -> list[str]:
        """Nothing can be wrong."""
        return []

    def mined(self, own: Path, source: Source, home: Path) -> Path:
        """The prepared set as it is."""
        return own
