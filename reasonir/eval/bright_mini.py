"""Offline miniature of BRIGHT: files in BRIGHT's format, generated from a seed and read by the same code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reasonir.eval.bright import Bright
from reasonir.eval.bright_mini_files import write_mini
from reasonir.eval.leaderboard import Leaderboard
from reasonir.utils.ranges import Seed


@dataclass(frozen=True, slots=True)
class BrightMini(Bright):
    """BRIGHT's protocol on the miniature; its files are written under `path`, `seed` as in `data=demo`."""

    path: str = "data/bright_mini"
    revision: str | None = None
    seed: Seed = 0

    @property
    def leaderboard(self) -> Leaderboard:
        """Empty: published results are on BRIGHT's own rows."""
        return Leaderboard()

    def folder(self) -> Path:
        """Return the folder with the files, written on first use."""
        return write_mini(Path(self.path).expanduser(), self.seed)
