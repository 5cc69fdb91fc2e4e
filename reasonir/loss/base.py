"""Interface of objectives: pure functions from scores and labels to named scalar terms.

Objectives know neither the model nor how its representations were fitted into memory, so every objective is correct
under gradient caching, accumulation, mixed precision and several devices: the engine handles those. A new objective is
one file, here or in a user's own folder, and one YAML in conf/loss. Outputs hold this device's pairs; `ranks.mean` and
`ranks.gather` cover all devices.

Selecting by a boolean mask makes the host wait for a GPU, which then has nothing to do: outputs name what the host knew
before (`relevant_R`, `shape_QG`), and `ranks.mean` takes a mask.

Shape letters: P labelled pairs, R relevant ones, Q queries of this device, G the most pairs of a query, N documents of
all devices, T document tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from reasonir.data.batch import Representation
from reasonir.distributed.ranks import Ranks
from reasonir.utils.ranges import Validated

LABEL = "label"
"""Name of the target that means the data's own labels."""
ANY = (-math.inf, math.inf)
"""Bounds of targets on any scale."""
LABELS, DOCUMENTS, ORDER, SPANS = "labels", "documents", "order", "spans"
"""Requirements of objectives on batches: pairs whose labels differ, several documents per query, documents of a query
whose labels differ, documents with labelled spans.
"""
PAIRWISE = frozenset({"retriever", "reranker", "pruner"})
"""Kinds of head that score labelled pairs: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOutputs:
    """Scores and labels of the labelled pairs of a step.

    Attributes:
        scores_P: scores of the head, in float32.
        query_P: query number of each pair, from 0; the pairs of a query are consecutive.
        label_P: labels.
        relevant_R: which pairs have a label above 0.
        shape_QG: number of queries, and of pairs of the query that has most.
        teachers_P: scores of the same pairs by teacher.
        ranks: all devices of the step.
        step: number of the batch in the run.
    """

    scores_P: Tensor
    query_P: Tensor
    label_P: Tensor
    relevant_R: Tensor
    shape_QG: tuple[int, int]
    teachers_P: Mapping[str, Tensor]
    ranks: Ranks
    step: int

    def target(self, name: str) -> Tensor:
        """Return the target scores: the labels, or the scores of the teacher `name`."""
        return self.label_P if name == LABEL else self.teachers_P[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalOutputs(PairOutputs):
    """Outputs of a retriever: also the scores of this device's queries with the documents of all devices.

    Attributes:
        scores_QN: scores.
        document_P: column of each pair's document.
        negative_QN: documents that may be negatives of a query: neither known to be relevant to it nor equal to it.
        query_key_Q: key that queries with the same tokens share, on the CPU.
        score: the head's score of every text with every other, for texts of `queries` and `documents`.
        queries: representation of this device's queries.
        documents: representation of all devices' documents.
        normalised: True if vectors have length 1.
    """

    scores_QN: Tensor
    document_P: Tensor
    negative_QN: Tensor
    query_key_Q: Tensor
    score: Callable[[Representation, Representation], Tensor]
    queries: Representation
    documents: Representation
    normalised: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PruningOutputs(PairOutputs):
    """Outputs of a pruner: also the logits and labels of document tokens.

    Attributes:
        keep_T: logit that the token is kept.
        token_label_T: whether it should be kept; NaN if unknown.
        pair_T: pair of the token.
    """

    keep_T: Tensor
    token_label_T: Tensor
    pair_T: Tensor


def needs_of(objective: Any) -> frozenset[str]:
    """Return an objective's requirements on batches; none for a user's objective without `needs`."""
    needs: frozenset[str] = getattr(objective, "needs", frozenset())
    return needs


def incompatibility(objective: Any, head: Any) -> str | None:
    """Return the reason why a class of objectives can't train a class of heads; None if it can.

    A user's objective needs nothing of a head's vectors unless it says so, as `RetrieverObjective` does.
    """
    name = objective.__name__
    if head.kind not in objective.accepts:
        kinds = " or ".join(sorted(objective.accepts))
        reason = f"{head.__name__} is a {head.kind}, and {name} trains {kinds} heads"
    elif getattr(objective, "single_vector", False) and not head.single_vector:
        reason = f"{head.__name__} gives many vectors per text, and {name} needs one"
    elif (sparse := getattr(objective, "sparse", None)) is not None and sparse != head.sparse:
        names = {True: "sparse weights of terms", False: "dense vectors"}
        reason = f"{head.__name__} gives {names[head.sparse]}, and {name} trains {names[sparse]}"
    elif getattr(objective, "free_length", False) and head.normalised:
        reason = f"{head.__name__} gives vectors of length 1, and {name} trains their length"
    elif getattr(objective, "logits", False) and (end := _only_end(head)):
        reason = f"{head.__name__} gives scores {end} 0, and {name} reads them as logits of relevance"
    else:
        return None
    return f"model/head and loss don't fit: {reason}: choose another loss= or model/head="


def untrained_temperature(objectives: Iterable[Any]) -> str | None:
    """Return the reason why classes of objectives can't train a temperature; None if they can."""
    alone = [objective for objective in objectives if not hasattr(objective, "parts")]
    if not all(getattr(objective, "vectors_only", False) for objective in alone):
        return None
    names = " and ".join(sorted(objective.__name__ for objective in alone))
    return f"model.learn_temperature=true: {names} read no scores, which it divides: set it to false, or add a loss"


def _only_end(head: Any) -> str | None:
    """Return the side of 0 that all scores of a class of heads are on; None if they are on both."""
    if getattr(head, "metric", None) == "euclidean":
        return "up to"
    return "from" if head.sparse else None


def bounds_of(objective: Any) -> tuple[float, float]:
    """Return the least and the greatest target that an objective can learn from; `ANY` unless it says so."""
    bounds: tuple[float, float] = getattr(objective, "bounds", ANY)
    return bounds


def parts_of(objective: Any) -> Iterator[Any]:
    """Yield an objective, or for one that combines others, those."""
    parts = getattr(objective, "parts", ())
    for part in parts:
        yield from parts_of(part)
    if not parts:
        yield objective


class Objective(Protocol):
    """Function from outputs to loss terms."""

    accepts: ClassVar[frozenset[str]]
    """Kinds of head that it can train (see `reasonir.model.head.base.Head.kind`)."""

    @property
    def teachers(self) -> frozenset[str]:
        """Teachers whose scores it uses."""

    @property
    def needs(self) -> frozenset[str]:
        """Requirements on batches, of `LABELS`, `DOCUMENTS`, `ORDER` and `SPANS`; often none."""

    def __call__(self, outputs: Any) -> Mapping[str, Tensor]:
        """Return scalars by term; "loss" is minimised. `outputs` is the `PairOutputs` type of the accepted heads."""


@dataclass(frozen=True, slots=True)
class RetrieverObjective(Validated):
    """Objective on a retriever's scores or vectors, without requirements on batches."""

    accepts: ClassVar[frozenset[str]] = frozenset({"retriever"})
    single_vector: ClassVar[bool] = False
    """True if it needs one vector per text."""
    free_length: ClassVar[bool] = False
    """True if it needs vectors of any length."""
    vectors_only: ClassVar[bool] = False
    """True if it reads no scores."""
    sparse: ClassVar[bool | None] = None
    """True if it needs sparse vectors, False if dense ones."""
    needs: ClassVar[frozenset[str]] = frozenset()
    teachers: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Targeted(Validated):
    """Objective on the scores of labelled pairs.

    Attributes:
        target: target scores: "label", or the name of a teacher.
    """

    target: str = LABEL
    accepts: ClassVar[frozenset[str]] = PAIRWISE
    compares: ClassVar[bool] = False
    """True if documents of a query are compared with each other."""
    logits: ClassVar[bool] = False
    """True if scores are logits of relevance, 0 undecided."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest target that it can learn from."""
        return ANY

    @property
    def teachers(self) -> frozenset[str]:
        """The target, if it is a teacher."""
        return frozenset() if self.target == LABEL else frozenset({self.target})

    @property
    def needs(self) -> frozenset[str]:
        """Targets that differ: labels may all be equal, scores of a teacher are not."""
        if self.target == LABEL:
            return frozenset({ORDER if self.compares else LABELS})
        return frozenset({DOCUMENTS} if self.compares else ())
