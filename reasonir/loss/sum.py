"""A weighted sum of objectives, each logged by its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from reasonir.loss.base import PAIRWISE, Objective, PairOutputs, needs_of
from reasonir.utils.ranges import Validated


@dataclass(frozen=True, slots=True)
class Sum(Validated):
    """The sum of `terms`, each times its weight.

    Attributes:
        terms: objectives by name.
        weights: by name; 1 where none is given.
    """

    terms: Mapping[str, Objective]
    weights: Mapping[str, float] = field(default_factory=dict)
    accepts: ClassVar[frozenset[str]] = PAIRWISE  # what its terms accept is checked by themselves

    def problems(self) -> Iterable[str]:
        """No terms, or weights of others."""
        if not self.terms:
            yield "terms is empty: name the objectives (+loss@loss.terms.bce=bce)"
        for name in self.weights:
            if name not in self.terms:
                yield f"weights.{name}: there is no such term; there are {', '.join(self.terms)}"

    @property
    def teachers(self) -> frozenset[str]:
        """Those of all terms."""
        return frozenset().union(*(term.teachers for term in self.terms.values()))

    @property
    def needs(self) -> frozenset[str]:
        """What all terms need, since one that learns nothing is a mistake."""
        return frozenset().union(*(needs_of(term) for term in self.terms.values()))

    def __call__(self, judged: PairOutputs) -> Mapping[str, Tensor]:
        """The sum, each term's loss by the term's name, and what else it says as <term>_<name>."""
        found = {name: term(judged) for name, term in self.terms.items()}
        parts = {name: values["loss"] for name, values in found.items()}
        further = {f"{name}_{key}": v for name, values in found.items() for key, v in values.items() if key != "loss"}
        total = sum((self.weights.get(name, 1.0) * part for name, part in parts.items()), start=_zero(parts))
        return {"loss": total, **{name: part.detach() for name, part in parts.items()}, **further}


def _zero(parts: Mapping[str, Tensor]) -> Tensor:
    return next(iter(parts.values())).new_zeros(())
