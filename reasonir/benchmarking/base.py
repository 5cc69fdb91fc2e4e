"""What a peer is: one way to take a training step on given texts, in a process of its own.

Everybody gets the same exported model, the same texts and lengths and no dropout, so the loss has to agree and the
gradients up to a known factor, before any time counts. A peer may need another environment than ours, so what
travels to it is plain, and what it imports of this package is torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from reasonir.data.batch import Batch, PairBatch
from reasonir.data.batches.collate import groups_of
from reasonir.engine.step import Budget
from reasonir.hardware import number_format
from reasonir.model import varlen
from reasonir.model.backbone import Model
from reasonir.model.head.base import PairTokenizer, Tokenizer
from reasonir.types import Document, Example, Side


@dataclass(frozen=True, slots=True)
class Workload:
    """The step that all take.

    Attributes:
        model: an exported model in the format its ecosystem loads.
        columns: aligned texts: the queries, their positives, then hard negatives. For retrievers no text stands twice,
            so that in-batch negatives mean the same to everybody; rerankers have at least one column of negatives.
        temperature: what retrievers' scores are divided by; rerankers' are logits, and theirs is 1.
        limits: the most tokens a text of each side, or a pair, has; what is beyond is cut.
        device: where it is computed.
        budget: what the plan says for this hardware.
        precision: that of the hardware profile; autocast where it is mixed.
        memory_cap_gib: the most a process may take of a GPU; None for all of it.
    """

    model: Model
    columns: Sequence[Sequence[str]]
    temperature: float
    limits: Mapping[Side, int]
    device: str
    budget: Budget
    precision: str = "32-true"
    memory_cap_gib: float | None = None

    @property
    def loading(self) -> dict[str, Any]:
        """What every peer is told when it opens `model.path`; its attention has no `varlen`."""
        attention = "sdpa" if self.model.attention == varlen.NAME else self.model.attention
        return {
            "device": self.device,
            "local_files_only": True,
            "model_kwargs": {"attn_implementation": attention},
        }

    def number_format(self) -> AbstractContextManager[Any]:
        """What everybody computes in."""
        return number_format(self.precision, self.device)

    @property
    def examples(self) -> list[Example]:
        """The columns' rows, judged."""
        return judged(self.columns)

    def batch(self, tokenizer: Any) -> Batch | PairBatch:
        """The step as our engine takes it, tokenised by the head's tokenizer."""
        return batch_of(self.columns, tokenizer)


def judged(columns: Sequence[Sequence[str]]) -> list[Example]:
    """The rows of aligned columns: the positive has label 1, negatives have 0."""
    found = []
    for number, (query, *texts) in enumerate(zip(*columns, strict=True)):
        documents = [Document(f"{number}.{i}", text, label=float(i == 0)) for i, text in enumerate(texts)]
        found.append(Example(str(number), query, tuple(documents)))
    return found


def batch_of(columns: Sequence[Sequence[str]], tokenizer: Tokenizer | PairTokenizer) -> Batch | PairBatch:
    """The batch of aligned columns, by a head's tokenizer."""
    return tokenizer.collate(0, groups_of(judged(columns)))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a peer couldn't do what it was asked."""

    reason: str
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """A peer's first step.

    Attributes:
        loss: its value.
        gradient: the norm of all gradients, the peer's known factor taken out.
        positions: places of token sequences that the model computed in one pass over all texts, padding included.
        passed: those of all its forward passes, recomputation included.
    """

    loss: float
    gradient: float
    positions: int
    passed: int


class Peer(Protocol):
    """A way to take a training step."""

    heads: ClassVar[frozenset[str]]
    """The names of the heads that it can train."""

    @property
    def python(self) -> str | None:
        """The interpreter of the environment it needs; None for the present one."""

    def load(self, workload: Workload) -> tuple[nn.Module, Callable[[], Tensor]]:
        """What isn't timed: the loaded model, and the function that gives the step's loss on tokenised texts."""

    def gradient_scale(self, workload: Workload) -> float:
        """How many times too large its gradients are known to be."""
