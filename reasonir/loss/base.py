"""What an objective is: a pure function from scores, and what is known about them, to one number a term.

Objectives know neither the model nor how its representations were fitted into memory, so every objective is right
under caching, accumulation, mixed precision and several devices: the engine sees to that. A new one is one file here
and one YAML in conf/loss. Everything in a `Judged` is of this device; `mean` and `gather` reach over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.distributed.ranks import Ranks
from reasonir.utils.ranges import Validated

LABEL = "label"
"""The target that stands for the data's own labels."""
LABELS, DOCUMENTS, ORDER, SPANS = "labels", "documents", "order", "spans"
"""What an objective may need to learn anything: pairs whose labels differ, several documents of a query, documents of a
query whose labels differ, documents with judged spans."""
PAIRWISE = frozenset({"retriever", "reranker", "pruner"})
"""The heads that give judged pairs scores: all there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOutputs:
    """A step's judged pairs: their scores by the head, in float32, with what is known of them.

    scores_P, query_P (numbers from 0, those of a query after each other) and label_P are aligned; `teachers_P` holds
    other models' scores of the same pairs. `step` counts the run's batches.
    """

    scores_P: Tensor
    query_P: Tensor
    label_P: Tensor
    teachers_P: Mapping[str, Tensor]
    ranks: Ranks
    step: int

    def target(self, name: str) -> Tensor:
        """What the pairs should score: their labels, or the scores of the teacher `name`."""
        return self.label_P if name == LABEL else self.teachers_P[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalOutputs(PairOutputs):
    """What a retriever's step knows besides: every query of this device against the documents of all devices.

    document_P says which column a pair's document is; negative_QN which documents may count as a query's negatives:
    never one that is known to be relevant to it or equal to it. queries are this device's, documents everybody's.
    """

    scores_QN: Tensor
    document_P: Tensor
    negative_QN: Tensor
    queries: Representation
    documents: Representation


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningOutputs(PairOutputs):
    """What a pruner's step knows besides of every token that is judged.

    keep_T is the logit that it is kept, token_label_T whether it is to be (NaN if unknown), pair_T the pair it is of.
    """

    keep_T: Tensor
    token_label_T: Tensor
    pair_T: Tensor


def needs_of(objective: Any) -> frozenset[str]:
    """What an objective needs of its batches; nothing where it doesn't say (a user's own)."""
    needs: frozenset[str] = getattr(objective, "needs", frozenset())
    return needs


class Objective(Protocol):
    """Losses by term."""

    accepts: ClassVar[frozenset[str]]
    """The kinds of head it can train (see `reasonir.model.head.base.Head.kind`)."""

    @property
    def teachers(self) -> frozenset[str]:
        """The teachers whose scores it reads."""

    @property
    def needs(self) -> frozenset[str]:
        """Of `LABELS`, `DOCUMENTS`, `ORDER` and `SPANS`, what batches must hold so that it learns; often nothing."""

    def __call__(self, judged: Any) -> Mapping[str, Tensor]:
        """Scalars by term, of what the heads it accepts give (a `Judged` at least); "loss" is minimised."""


@dataclass(frozen=True, slots=True)
class Targeted(Validated):
    """An objective on the scores of judged pairs.

    Attributes:
        target: what pairs should score: "label", or the name of a teacher.
    """

    target: str = LABEL
    accepts: ClassVar[frozenset[str]] = PAIRWISE
    compares: ClassVar[bool] = False
    """Whether the documents of a query are compared with each other."""

    @property
    def teachers(self) -> frozenset[str]:
        """The teacher that is the target, if one is."""
        return frozenset() if self.target == LABEL else frozenset({self.target})

    @property
    def needs(self) -> frozenset[str]:
        """Targets that differ: labels do not by themselves, a teacher's scores do."""
        if self.target == LABEL:
            return frozenset({ORDER if self.compares else LABELS})
        return frozenset({DOCUMENTS} if self.compares else ())
