"""What an objective is: a pure function from scores, and what is known about them, to one loss a term.

Objectives know neither the model nor how its representations were fitted into memory, so every objective is right
under caching, accumulation, mixed precision and several devices: the engine sees to that. A new one is one file here
and one YAML in conf/loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Judged:
    """A step's scores with what is known of them, for the queries of this device and the documents of all devices.

    scores_QN come from the head, in float32. Pairs (query_P, document_P, label_P) are judged; negative_QN says which
    documents may count as a query's negatives: never one that is known to be relevant to it or equal to it.
    """

    scores_QN: Tensor
    query_P: Tensor
    document_P: Tensor
    label_P: Tensor
    negative_QN: Tensor


class Objective(Protocol):
    """Losses by term. A vector holds one loss a pair or query: the engine takes its mean over all devices."""

    accepts: ClassVar[frozenset[str]]
    """The kinds of head it can train (see `reasonir.model.head.base.Head.kind`)."""

    def __call__(self, judged: Judged) -> Mapping[str, Tensor]:
        """The loss of each term; "loss" is what is minimised, the others are logged."""
