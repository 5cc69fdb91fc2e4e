"""What a teacher is: it takes a prepared set and gives one in which every document carries its score.

Losses name it as their target. A teacher is one file here and one YAML in conf/teacher.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Teacher(Protocol):
    """A stage between mining and training, so that mined negatives are scored as well."""

    @property
    def columns(self) -> frozenset[str]:
        """The teachers whose scores it adds, by the names that losses know them by."""

    def check_available(self) -> None:
        """Find what it scores with, so that it is known to be there.

        Raises:
            InputError: it isn't.
        """

    def add_scores(self, own: Path, home: Path) -> Path:
        """The folder of the set with the teacher's column: the same rows in the same order.

        Args:
            own: a prepared set.
            home: prepared sets lie in data/ under it.

        Raises:
            InputError: the set has a teacher of that name, or what the scoring needs isn't there.
        """
