"""What a contender is: one way to take a training step on given texts, in a process of its own.

Everybody gets the same exported model, the same texts and lengths and no dropout, so the loss has to agree and the
gradients up to a known factor, before any time counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from reasonir.data.collate import assembling, groups_of
from reasonir.model.backbone import Model
from reasonir.types import Batch, Document, Example, PairBatch


@dataclass(frozen=True, slots=True)
class Workload:
    """The step that all take.

    `model` is an exported model in the format its ecosystem loads; columns are aligned: the queries, their positives,
    then hard negatives. For retrievers no text stands twice, so that in-batch negatives mean the same to everybody;
    rerankers have at least one column of negatives.
    """

    model: Model
    columns: Sequence[Sequence[str]]
    temperature: float
    """What retrievers' scores are divided by; rerankers' are logits, and theirs is 1."""
    device: str
    budget: tuple[int, int]
    """Padded tokens of a micro-batch, and of the graphs that are kept: what the plan says for this hardware."""

    @property
    def examples(self) -> list[Example]:
        """The columns' rows, judged: the positive has label 1, negatives have 0."""
        found = []
        for number, (query, *texts) in enumerate(zip(*self.columns, strict=True)):
            documents = [Document(f"{number}.{i}", text, label=float(i == 0)) for i, text in enumerate(texts)]
            found.append(Example(str(number), query, tuple(documents)))
        return found

    def batch(self, head: Any) -> Batch | PairBatch:
        """The step as our engine takes it, tokenised for `head`."""
        found: Batch | PairBatch = assembling(head.kind, head.tokenizer)(0, groups_of(self.examples))
        return found


class Contender(Protocol):
    """A way to take a training step."""

    kind: ClassVar[frozenset[str]]
    """The heads it can train, by class name."""

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """What isn't timed: the loaded model, and the function that gives the step's loss on tokenised texts."""

    def gradient_scale(self, workload: Workload) -> float:
        """How many times too large its gradients are known to be."""
