"""A miniature BRIGHT that needs no network: files of BRIGHT's shape, made from a seed and read as BRIGHT is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reasonir.eval.bright import Bright
from reasonir.eval.bright_mini_files import write_mini
from reasonir.eval.leaderboard import Leaderboard
from reasonir.utils.ranges import NonNegative


@dataclass(frozen=True, slots=True)
class BrightMini(Bright):
    """BRIGHT's protocol on the miniature; `path` is where its files are written, `seed` that of `data=demo`."""

    path: str = "data/bright_mini"
    revision: str | None = None
    seed: NonNegative = 0

    @property
    def leaderboard(self) -> Leaderboard:
        """None: these are not BRIGHT's own rows."""
        return Leaderboard()

    def folder(self) -> Path:
        """Where the files are, written on first use."""
        return write_mini(Path(self.path).expanduser(), self.seed)
