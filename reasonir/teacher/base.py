"""Protocol of teachers, which add a column to a prepared set: scores, or the documents that are no negatives.

Losses name a column of scores as their target. A teacher is one file here and one YAML in conf/teacher.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Teacher(Protocol):
    """Stage between mining and training, so that mined negatives are scored too."""

    @property
    def columns(self) -> frozenset[str]:
        """Names of the teachers whose scores it adds, as in loss.target."""

    @property
    def bounded(self) -> bool:
        """True if its scores are probabilities, False for logits."""

    def check_available(self) -> None:
        """Check that the teacher's model is available.

        Raises:
            InputError: it isn't.
        """

    def add_scores(self, prepared: Path, home: Path) -> Path:
        """Write the set with the teacher's column, the same rows in the same order, and return its folder.

        Args:
            prepared: folder of a prepared set.
            home: folder whose data/ holds the prepared sets.

        Raises:
            InputError: the set has a teacher of that name already, or the teacher's model isn't available.
        """
