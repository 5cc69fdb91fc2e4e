"""Weighted sum of objectives, each logged by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from reasonir.loss.base import PAIRWISE, Objective, PairOutputs, needs_of
from reasonir.utils.ranges import Validated


@dataclass(frozen=True, slots=True)
class Sum(Validated):
    """Sum of `terms`, each times its weight.

    Attributes:
        terms: objectives by name.
        weights: weights by name; 1 by default.
    """

    terms: Mapping[str, Objective]
    weights: Mapping[str, float] = field(default_factory=dict)
    accepts: ClassVar[frozenset[str]] = PAIRWISE  # what its terms accept is checked by themselves

    def problems(self) -> Iterable[str]:
        """Yield missing terms, weights of unknown terms, and a sum that is always 0."""
        if not self.terms:
            yield "terms is empty: name the objectives (+loss@loss.terms.bce=bce)"
        for name in self.weights:
            if name not in self.terms:
                yield f"weights.{name}: no such term; the terms are {', '.join(self.terms)}"
        if self.terms and all(self.weights.get(name) == 0 for name in self.terms):
            yield "weights are 0 for every term, which trains nothing: give one of them another weight"

    @property
    def parts(self) -> Iterable[Objective]:
        """Its terms."""
        return self.terms.values()

    @property
    def teachers(self) -> frozenset[str]:
        """Teachers of all terms."""
        return frozenset().union(*(term.teachers for term in self.terms.values()))

    @property
    def needs(self) -> frozenset[str]:
        """Requirements of all terms."""
        return frozenset().union(*(needs_of(term) for term in self.terms.values()))

    def __call__(self, outputs: PairOutputs) -> Mapping[str, Tensor]:
        """Return the sum, each term's loss by the term's name, and its other values as <term>_<name>."""
        by_term = {name: term(outputs) for name, term in self.terms.items()}
        losses = {name: values["loss"] for name, values in by_term.items()}
        others = {f"{name}_{key}": v for name, values in by_term.items() for key, v in values.items() if key != "loss"}
        zero = next(iter(losses.values())).new_zeros(())
        total = sum((self.weights.get(name, 1.0) * loss for name, loss in losses.items()), start=zero)
        return {"loss": total, **{name: loss.detach() for name, loss in losses.items()}, **others}
