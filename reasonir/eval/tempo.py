"""TEMPO (arXiv:2601.09523): queries about time in thirteen domains, in BRIGHT's layout and by its protocol.

Excluded documents are masked before the cut, judgements are binary, and the main metric is nDCG@10, averaged over the
domains without weights, as in the authors' run.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from reasonir.eval.bright import Bright
from reasonir.eval.leaderboard import BOARDS


@dataclass(frozen=True, slots=True)
class Tempo(Bright):
    """The domains of TEMPO as tasks."""

    title: ClassVar[str] = "TEMPO"
    kinds: ClassVar[Mapping[str, Sequence[str]]] = {
        "blockchain": ("bitcoin", "cardano", "iota", "monero"),
        "social": ("economics", "law", "politics", "history"),
        "applied": ("quant", "travel", "workplace", "genealogy"),
        "stem": ("hsm",),
    }
    long_splits: ClassVar[Sequence[str]] = ()
    boards: ClassVar[Path] = BOARDS
    corrects: ClassVar[bool] = False

    path: str = "tempo26/Tempo"
    revision: str | None = "1dba7027d0afa628993c6dd794e9b68c657a6fac"
    protocol: Literal["tempo"] = "tempo"  # type: ignore[assignment]
    long: Literal[False] = False
